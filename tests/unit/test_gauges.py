"""The gauges of what lies in the database."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from rpccommon.gauges import PARKED_STATES, Counted, Gauges, dangling_references, parked_events, tombstones, unfinished_sagas

FOLLOWED = [("bookings", "bookings.Booking"), ("identity", "identity.Station")]


@dataclass(frozen=True)
class Aside:
    owner: str
    type: str
    state: str
    events: int
    seconds: float


@dataclass(frozen=True)
class Unfinished:
    kind: str
    unfinished: int
    seconds: float


@dataclass(frozen=True)
class Purging:
    count: int
    seconds: float


def scraped(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


async def shown(found: Any, gauges: Callable[[Any], Gauges]) -> list[str]:
    """The figures that a scrape gets after one look; fails where there are figures before it."""
    registry, looked = CollectorRegistry(), asyncio.Event()

    async def read() -> Any:
        if looked.is_set():
            await asyncio.Event().wait()
        looked.set()
        return found

    counted = Counted(registry, read, gauges)
    assert scraped(registry) == [], "before the first look there is no figure, and not a good one"
    watching = asyncio.create_task(counted.watch())
    await looked.wait()
    await asyncio.sleep(0)
    watching.cancel()
    await asyncio.wait({watching})
    return scraped(registry)


async def test_where_nothing_lies_aside_there_is_a_zero_for_all_that_is_followed() -> None:
    lines = await shown([], parked_events(FOLLOWED))
    assert len(lines) == 2 * len(FOLLOWED) * len(PARKED_STATES)
    assert 'feed_parked_events{owner="bookings",state="parked",type="bookings.Booking"} 0.0' in lines
    assert all(line.endswith(" 0.0") for line in lines)


async def test_what_lies_aside_is_shown_by_owner_type_and_state_with_the_age_of_the_oldest() -> None:
    no_longer_followed = Aside("payments", "payments.Old", "waiting", 1, 2)
    lines = await shown([Aside("bookings", "bookings.Booking", "parked", 3, 61.5), no_longer_followed], parked_events(FOLLOWED))
    assert 'feed_parked_events{owner="bookings",state="parked",type="bookings.Booking"} 3.0' in lines
    assert 'feed_parked_age_seconds{owner="bookings",state="parked",type="bookings.Booking"} 61.5' in lines
    assert 'feed_parked_events{owner="payments",state="waiting",type="payments.Old"} 1.0' in lines


async def test_each_kind_of_saga_has_its_count_and_the_age_of_the_oldest_also_where_there_is_none() -> None:
    assert await shown([Unfinished("expiring", 3, 61.5), Unfinished("refund_due", 0, 0)], unfinished_sagas) == [
        'sagas_unfinished{kind="expiring"} 3.0',
        'sagas_unfinished{kind="refund_due"} 0.0',
        'saga_oldest_age_seconds{kind="expiring"} 61.5',
        'saga_oldest_age_seconds{kind="refund_due"} 0.0',
    ]


async def test_a_scrape_sees_how_many_purges_have_not_ended_and_how_old_the_oldest_is() -> None:
    assert await shown(Purging(2, 7.5), tombstones) == ["tombstones 2.0", "tombstone_age_seconds 7.5"]


async def test_a_scrape_sees_every_column_also_where_nothing_dangles() -> None:
    assert await shown({"slots.station_id": 3}, dangling_references(["slots.station_id", "customers.user_id"])) == [
        'dangling_references{column="customers.user_id"} 0.0', 'dangling_references{column="slots.station_id"} 3.0',
    ]  # fmt: skip
