"""The gauges of events that lie aside."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from rpccommon.parked import ParkedEvents

FOLLOWED = [("bookings", "bookings.Booking"), ("identity", "identity.Station")]


@dataclass(frozen=True)
class Count:
    owner: str
    type: str
    state: str
    events: int
    seconds: float


async def shown(counts: Sequence[Count]) -> list[str]:
    """The figures that a scrape gets after one look."""
    registry, looked = CollectorRegistry(), asyncio.Event()

    async def read() -> Sequence[Count]:
        if looked.is_set():
            await asyncio.Event().wait()
        looked.set()
        return counts

    gauges = ParkedEvents(registry, FOLLOWED, read)
    watching = asyncio.create_task(gauges.watch())
    await looked.wait()
    await asyncio.sleep(0)
    watching.cancel()
    await asyncio.wait({watching})
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


async def test_where_nothing_lies_aside_there_is_a_zero_for_all_that_is_followed() -> None:
    lines = await shown([])
    assert len(lines) == 2 * len(FOLLOWED) * len(ParkedEvents.STATES)
    assert 'feed_parked_events{owner="bookings",state="parked",type="bookings.Booking"} 0.0' in lines
    assert all(line.endswith(" 0.0") for line in lines)


async def test_what_lies_aside_is_shown_by_owner_type_and_state_with_the_age_of_the_oldest() -> None:
    lines = await shown(
        [Count("bookings", "bookings.Booking", "parked", 3, 61.5), Count("payments", "payments.Old", "waiting", 1, 2)]
    )
    assert 'feed_parked_events{owner="bookings",state="parked",type="bookings.Booking"} 3.0' in lines
    assert 'feed_parked_age_seconds{owner="bookings",state="parked",type="bookings.Booking"} 61.5' in lines
    assert 'feed_parked_events{owner="payments",state="waiting",type="payments.Old"} 1.0' in lines, (
        "also what is no longer followed"
    )
