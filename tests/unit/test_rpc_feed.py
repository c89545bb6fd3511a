"""The feed as it is streamed: complete up to what it says, whole, in order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from teppan.common.v1 import events_pb2, events_pb2_grpc

from faults import CursorDiverged, Remembered
from pages import Tokens
from rpccommon.feed import EventsServicer
from tests.unit.rpc_bookings import failure
from tests.unit.rpc_feed import EPOCH, LONG_AGO, NEXT_EPOCH, START, TOKENS, Feed
from tests.unit.rpc_stage import OTHER_STATION, STATION, Stage, details, now, stage


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
async def on(feed: Feed) -> AsyncIterator[Stage]:
    async with stage(EventsServicer(feed, TOKENS)) as running:
        yield running


def messages(on: Stage, **request: Any) -> Any:
    """The messages of a stream."""
    return on.peer.stream(
        events_pb2_grpc.EventsServiceStub(on.peer.channel).StreamEvents, events_pb2.StreamEventsRequest(**request)
    )


async def until(
    stream: Any, done: Callable[[list[events_pb2.StreamEventsResponse]], bool]
) -> list[events_pb2.StreamEventsResponse]:
    """Reads until it is enough."""
    got: list[events_pb2.StreamEventsResponse] = []
    async with asyncio.timeout(10):
        async for message in stream:
            got.append(message)
            if done(got):
                break
    await stream.aclose()
    return got


def positions(got: Sequence[events_pb2.StreamEventsResponse]) -> list[int]:
    """Of the events."""
    return [event.position for message in got for event in message.events]


def complete(message: events_pb2.StreamEventsResponse) -> datetime:
    """Up to when it says it is."""
    return message.complete_until_time.ToDatetime(UTC)


async def test_every_event_comes_once_in_order_whole(on: Stage, feed: Feed) -> None:
    feed.fill(1201)
    got = await until(messages(on), lambda got: len(positions(got)) == 1201)
    assert positions(got) == list(range(1, 1202))
    assert [len(message.events) for message in got] == [500, 500, 201]
    event, stored = got[0].events[0], feed.events[0]
    assert (event.event_id, event.type, event.entity_id, event.station_id) == (
        str(stored.event_id), stored.type, str(stored.entity_id), str(STATION),
    )  # fmt: skip
    assert (event.epoch, event.version, event.referent_state, event.publish_time.ToDatetime(UTC)) == (
        str(EPOCH),
        1,
        2,
        stored.publish_time,
    )
    assert event.payload.SerializeToString() == stored.payload


async def test_nothing_is_called_complete_before_all_of_it_was_sent(on: Stage, feed: Feed) -> None:
    feed.fill(1201)
    got = await until(messages(on), lambda got: len(positions(got)) == 1201)
    assert [complete(message) for message in got[:-1]] == [LONG_AGO, LONG_AGO]
    assert complete(got[-1]) == START + timedelta(seconds=1201, milliseconds=500)
    assert [(message.head.position, message.position.position) for message in got] == [(1201, 500), (1201, 1000), (1201, 1201)]


async def test_what_arrives_while_a_batch_is_read_is_not_covered_by_the_head_that_was_read_before(on: Stage, feed: Feed) -> None:
    feed.fill(1)
    feed.reading = lambda: feed.fill(1) if len(feed.events) == 1 else None
    [got] = await until(messages(on), lambda _: True)
    assert positions([got]) == [1, 2]
    assert (got.head.position, complete(got)) == (1, START + timedelta(seconds=1, milliseconds=500))


async def test_an_empty_feed_says_at_once_that_it_is_complete_and_goes_on_saying_so(
    on: Stage, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpccommon.feed.servicer.HEARTBEAT_SECONDS", 0.05)
    got = await until(messages(on), lambda got: len(got) == 4)
    assert [(positions([message]), complete(message), message.head.position) for message in got] == [
        ([], START + timedelta(milliseconds=500), 0)
    ] * 4


async def test_heartbeats_move_the_cursor_past_what_was_not_wanted(on: Stage, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpccommon.feed.servicer.HEARTBEAT_SECONDS", 0.05)
    feed.fill(3, type="identity.User", station_id=None)
    feed.fill(1, station_id=OTHER_STATION)
    feed.fill(2)
    stream = messages(on, types=["identity.Station"], station_ids=[str(STATION)])
    got = await until(stream, lambda got: len(positions(got)) == 2 and not got[-1].events)
    assert positions(got) == [5, 6]
    feed.fill(4, type="identity.User", station_id=None)
    rest = await until(messages(on, types=["identity.Station"], after_cursor=got[-1].cursor), bool)
    assert [(message.position.position, len(message.events)) for message in rest] == [(10, 0)]


async def test_a_stream_goes_on_from_its_cursor(on: Stage, feed: Feed) -> None:
    feed.fill(700)
    first = await until(messages(on), lambda _: True)
    rest = await until(messages(on, after_cursor=first[0].cursor), lambda _: True)
    assert positions(first + rest) == list(range(1, 701))
    assert feed.starts[1] == ((EPOCH, 500), None, False)


async def test_a_new_event_is_sent_when_it_happens(on: Stage, feed: Feed) -> None:
    stream = messages(on)
    async with asyncio.timeout(1):
        assert not (await anext(stream)).events
        feed.fill(1)
        assert positions([await anext(stream)]) == [1]
    await stream.aclose()


async def test_a_stream_begins_where_it_is_told(on: Stage, feed: Feed) -> None:
    feed.fill(1)
    await until(messages(on, latest=True), lambda _: True)
    await until(messages(on, after_time=START), lambda _: True)
    assert feed.starts == [(None, None, True), (None, START, False)]


async def test_the_end_of_an_epoch_is_where_the_next_begins(on: Stage, feed: Feed) -> None:
    feed.fill(2)
    feed.epoch = NEXT_EPOCH
    [message] = await until(messages(on), lambda _: True)
    assert message.position == message.head, "else who has everything would never know it"
    assert message.events[-1].epoch == str(EPOCH)


async def test_while_all_that_is_passed_over_is_not_wanted_heartbeats_go_on_and_call_nothing_complete_too_early(
    on: Stage, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpccommon.feed.servicer.HEARTBEAT_SECONDS", 0.0)
    feed.fill(1201, type="identity.User", station_id=None)
    got = await until(messages(on, types=["identity.Station"]), lambda got: len(got) == 3)
    assert [(message.position.position, complete(message)) for message in got] == [
        (500, LONG_AGO), (1000, LONG_AGO), (1201, START + timedelta(seconds=1201, milliseconds=500)),
    ]  # fmt: skip


async def test_in_another_epoch_a_stream_is_checked_again_as_if_it_were_new(
    on: Stage, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpccommon.feed.servicer.HEARTBEAT_SECONDS", 0.05)
    feed.fill(60)
    stream, epochs = messages(on), {str(EPOCH)}

    def heard_of(got: list[events_pb2.StreamEventsResponse]) -> bool:
        epochs.add(got[-1].head.epoch)
        return False

    async with asyncio.timeout(10):
        assert (await anext(stream)).position.position == 60
        del feed.events[50:]  # the database is restored, and as much is published again
        feed.epoch = NEXT_EPOCH
        feed.fault = CursorDiverged("the cursor is past the end of its epoch", last_common_position=50)
        feed.fill(10)
        with pytest.raises(Remembered, match="past the end") as refused:
            await until(stream, heard_of)
    assert epochs == {str(EPOCH)}, "the end of the other epoch is not where this stream is"
    assert (refused.value.reason, refused.value.metadata) == ("CURSOR_DIVERGED", {"last_common_position": "50"})
    assert feed.starts == [(None, None, False), ((EPOCH, 60), None, False)]


async def test_an_epoch_that_begins_while_a_stream_does_is_not_overlooked(on: Stage, feed: Feed) -> None:
    feed.fill(2)
    feed.starting = lambda: setattr(feed, "epoch", NEXT_EPOCH)
    cursor = TOKENS.sign("cursor", {"epoch": str(EPOCH), "position": 2}, None)
    await until(messages(on, after_cursor=cursor), lambda _: True)
    assert feed.starts == [((EPOCH, 2), None, False)] * 2


async def test_large_events_are_sent_in_smaller_batches(on: Stage, feed: Feed) -> None:
    feed.fill(10, size=900_000)
    got = await until(messages(on), lambda got: len(positions(got)) == 10)
    assert positions(got) == list(range(1, 11))
    assert len(got) == 10
    assert [message.position.position for message in got] == list(range(1, 11))
    assert {complete(message) for message in got[:-1]} == {LONG_AGO}


async def test_a_gap_is_an_error_and_not_skipped(on: Stage, feed: Feed) -> None:
    feed.fill(1)
    feed.events[0].position = 7
    feed.reading = feed.events.clear
    cursor = TOKENS.sign("cursor", {"epoch": str(EPOCH), "position": 3}, None)
    with pytest.raises(Remembered, match="no longer kept"):
        await until(messages(on, after_cursor=cursor), lambda _: False)


@pytest.mark.parametrize(
    "time", [Timestamp(seconds=2**62), Timestamp(seconds=-(2**62)), Timestamp(nanos=-1)], ids=["late", "early", "nanos"]
)
async def test_a_time_that_there_is_not_is_invalid(on: Stage, time: Timestamp) -> None:
    call = events_pb2_grpc.EventsServiceStub(on.peer.channel).StreamEvents(
        events_pb2.StreamEventsRequest(after_time=time), metadata=on.peer._metadata()
    )
    error = await failure(call)
    assert (error.code(), [field.field for field in details(error)[1].field_violations]) == (
        grpc.StatusCode.INVALID_ARGUMENT, ["after_time"],
    )  # fmt: skip


@pytest.mark.parametrize(
    "cursor",
    ["x", TOKENS.sign("page", {"epoch": str(EPOCH), "position": 1}), Tokens(b"o" * 32, now).sign("cursor", {})],
    ids=["damaged", "of pages", "of another key"],  # a token holds a time: the two processes of a run would disagree on its name
)
async def test_a_cursor_of_something_else_is_invalid(on: Stage, cursor: str) -> None:
    call = events_pb2_grpc.EventsServiceStub(on.peer.channel).StreamEvents(
        events_pb2.StreamEventsRequest(after_cursor=cursor),
        metadata=on.peer._metadata(),  # the call of a peer, with what grpc says of its failure
    )
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await anext(aiter(call))
    info, bad, _ = details(failed.value)
    assert (failed.value.code(), info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CURSOR_INVALID")
    assert [violation.field for violation in bad.field_violations] == ["after_cursor"]
