"""Streams of events that begin at a time: any there is, to the nanosecond."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from teppan.common.v1 import events_pb2

from tests.integration.stage import Teppan, eventually, refused

FIRST, LAST = -62_135_596_800, 253_402_300_799


async def first_batch(teppan: Teppan, time: Timestamp) -> Any:
    call = teppan.events("identity").StreamEvents(
        events_pb2.StreamEventsRequest(after_time=time), metadata=teppan.service("bookings")
    )
    async for batch in call:
        call.cancel()
        return batch
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("seconds", [FIRST, FIRST + 1, 0, LAST - 1, LAST])
@pytest.mark.parametrize("nanos", [0, 999_999_999])
async def test_a_stream_begins_at_any_time(teppan: Teppan, seconds: int, nanos: int) -> None:
    batch = await first_batch(teppan, Timestamp(seconds=seconds, nanos=nanos))
    assert batch.head.epoch


@pytest.mark.parametrize(
    "time", [Timestamp(seconds=FIRST - 1), Timestamp(seconds=LAST + 1), Timestamp(seconds=2**62), Timestamp(nanos=-1)]
)
async def test_a_time_that_there_is_not_is_refused_by_its_name(teppan: Teppan, time: Timestamp) -> None:
    refusal = await refused(first_batch(teppan, time))
    assert (refusal.code, refusal.reason, list(refusal.fields)) == ("INVALID_ARGUMENT", "FIELDS_INVALID", ["after_time"])


async def test_a_nanosecond_after_an_event_is_after_it(teppan: Teppan) -> None:
    await teppan.station()
    published = (await eventually(lambda: first_of(teppan))).publish_time
    assert published.nanos % 1_000 == 0
    later = await first_batch(teppan, Timestamp(seconds=published.seconds, nanos=published.nanos + 1))
    at = await first_batch(teppan, published)
    assert at.events[0].publish_time == published
    assert all(event.publish_time.ToNanoseconds() > published.ToNanoseconds() for event in later.events)


async def first_of(teppan: Teppan) -> Any:
    """The oldest event."""
    batch = await first_batch(teppan, Timestamp())
    assert batch.events
    return batch.events[0]
