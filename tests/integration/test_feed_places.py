"""Where streams of a real feed begin, and that none goes on where something is missing."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from dbcommon.feed import Feed
from faults import CursorDiverged, CursorExpired, FeedStale
from ids import new_id
from local.database import Server
from tests.integration.feeding import Owner, owner_on

ONE, TWO = new_id(), new_id()
DAYS_KEPT, DAYS_GONE = 29, 31


@pytest.fixture
async def own(server: Server, database: str) -> AsyncIterator[Owner]:
    """A feed."""
    async with owner_on(server, database) as made:
        yield made


async def start(feed: Feed, **where: Any) -> tuple[UUID, int]:
    """Where a stream begins."""
    return await feed.start(**{"after": None, "after_time": None, "latest": False, **where})


async def after(feed: Feed, place: tuple[UUID, int], limit: int = 500) -> tuple[list[int], tuple[UUID, int]]:
    """The positions that follow, and the place after them."""
    events, reached = await feed.after(place, types=[], tenants=[], limit=limit)
    return [event.position for event in events], reached


async def test_a_stream_begins_after_a_place_at_the_end_or_at_the_oldest_event(own: Owner) -> None:
    await own.published(*[ONE] * 5)
    epoch = (await own.feed.head()).epoch
    assert await start(own.feed) == (epoch, 0)
    assert await start(own.feed, latest=True) == (epoch, 5)
    assert await start(own.feed, after=(epoch, 3)) == (epoch, 3)
    assert await after(own.feed, (epoch, 3), limit=1) == ([4], (epoch, 4))
    assert await after(own.feed, (epoch, 5)) == ([], (epoch, 5))


async def test_a_stream_goes_on_from_one_epoch_into_the_next(own: Owner) -> None:
    await own.published(ONE, ONE)
    first = (await own.feed.head()).epoch
    await own.reborn()
    await own.published(ONE)
    second = (await own.feed.head()).epoch
    for place in ((first, 2), (second, 2)):
        assert await start(own.feed, after=place) == place
        assert await after(own.feed, place) == ([3], (second, 3))
    assert await after(own.feed, (first, 0)) == ([1, 2, 3], (second, 3))


async def test_a_place_past_the_end_of_its_epoch_diverges_in_the_middle_of_a_stream_too(own: Owner) -> None:
    await own.published(*[ONE] * 4)
    lost = (await own.feed.head()).epoch
    await own.admin.execute("DELETE FROM bookings.events WHERE position > 2")  # the database is restored
    await own.admin.execute("UPDATE bookings.feed_head SET position = 2")
    await own.reborn()
    await own.published(*[TWO] * 4)
    ways: list[Callable[[tuple[UUID, int]], Awaitable[Any]]] = [
        lambda place: start(own.feed, after=place),
        lambda place: after(own.feed, place),
    ]
    for way in ways:
        with pytest.raises(CursorDiverged) as refused:
            await way((lost, 4))
        assert refused.value.metadata == {"last_common_position": "2"}
        await way((lost, 2))


async def test_cursors_from_the_future_and_of_unknown_epochs_are_refused(own: Owner) -> None:
    await own.published(ONE)
    epoch = (await own.feed.head()).epoch
    for place, last in (((epoch, 2), "1"), ((new_id(), 1), "0")):
        with pytest.raises(CursorDiverged) as refused:
            await start(own.feed, after=place)
        assert refused.value.metadata == {"last_common_position": last}


async def test_until_an_epoch_has_begun_in_this_life_of_the_database_nothing_is_answered(own: Owner) -> None:
    await own.published(ONE)
    epoch = (await own.feed.head()).epoch
    await own.reborn()
    for where in ({}, {"latest": True}, {"after": (epoch, 1)}, {"after_time": datetime.now(UTC)}):
        with pytest.raises(FeedStale):
            await start(own.feed, **where)
    with pytest.raises(FeedStale):
        await own.feed.head()


async def test_what_was_dropped_is_recorded_and_who_has_not_read_it_is_told(own: Owner) -> None:
    await own.published(*[ONE] * 10)
    epoch = (await own.feed.head()).epoch
    await own.age(1, 4, days=DAYS_GONE)
    await own.age(5, 6, days=DAYS_KEPT)
    place = await start(own.feed, after=(epoch, 2))
    await own.roll()
    assert await own.admin.fetchval("SELECT dropped_through FROM bookings.feed_head") == 4
    assert [event.position for event in await own.everything()] == [5, 6, 7, 8, 9, 10]
    for expired in (place, (epoch, 3)):
        for way in (after(own.feed, expired), start(own.feed, after=expired)):
            with pytest.raises(CursorExpired) as refused:
                await way
            assert refused.value.metadata == {"dropped_through": "4"}
    assert await after(own.feed, await start(own.feed, after=(epoch, 4))) == ([5, 6, 7, 8, 9, 10], (epoch, 10))
    assert await start(own.feed) == (epoch, 4)


async def test_what_was_dropped_stays_known_when_nothing_is_left(own: Owner) -> None:
    await own.published(*[ONE] * 3)
    epoch = (await own.feed.head()).epoch
    await own.age(1, 3, days=DAYS_GONE)
    await own.roll()
    await own.roll()
    with pytest.raises(CursorExpired):
        await start(own.feed, after=(epoch, 2))
    assert await start(own.feed, after=(epoch, 3)) == (epoch, 3)
    assert await start(own.feed, after_time=datetime.now(UTC) - timedelta(days=1)) == (epoch, 3)


async def test_partitions_are_there_a_week_ahead_and_rolling_twice_changes_nothing(own: Owner) -> None:
    names = "SELECT array_agg(right(relname, 8) ORDER BY relname) FROM pg_class WHERE relname ~ '^events_2.{7}$' AND relnamespace = 'bookings'::regnamespace"
    before = await own.admin.fetchval(names)
    today = (await own.admin.fetchval("SELECT now()")).astimezone(UTC)
    assert before == [(today + timedelta(days=n)).strftime("%Y%m%d") for n in range(-1, 8)]
    await own.owner.execute(f"DROP TABLE bookings.events_{before[-1]}")
    for _ in range(2):
        await own.roll()
        assert await own.admin.fetchval(names) == before


async def test_a_gap_that_nobody_recorded_is_not_skipped(own: Owner) -> None:
    await own.published(*[ONE] * 5)
    epoch = (await own.feed.head()).epoch
    await own.admin.execute("DELETE FROM bookings.events WHERE position = 3")
    for place in ((epoch, 0), (epoch, 2)):
        with pytest.raises(CursorExpired):
            await after(own.feed, place)


async def test_at_a_time_a_stream_begins_with_the_first_event_published_then_or_later(own: Owner) -> None:
    epoch = (await own.feed.head()).epoch
    assert await start(own.feed, after_time=datetime(2000, 1, 1, tzinfo=UTC)) == (epoch, 0), "nothing was dropped"
    await own.published(ONE, ONE)
    await own.published(ONE)
    times = [row[0] for row in await own.admin.fetch("SELECT publish_time FROM bookings.events ORDER BY position")]
    assert times[0] == times[1] < times[2]
    tick = timedelta(microseconds=1)
    for time, position in ((times[0], 0), (times[0] + tick, 2), (times[2], 2), (times[2] + tick, 3)):
        assert await start(own.feed, after_time=time) == (epoch, position)


async def test_a_time_of_which_something_was_dropped_is_refused(own: Owner) -> None:
    await own.published(*[ONE] * 6)
    epoch = (await own.feed.head()).epoch
    gone = await own.age(1, 2, days=DAYS_GONE)
    kept = await own.age(3, 4, days=DAYS_KEPT)
    assert await start(own.feed, after_time=gone) == (epoch, 0)
    await own.roll()
    midnight = kept.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for time in (gone, midnight - timedelta(microseconds=1)):
        with pytest.raises(CursorExpired) as refused:
            await start(own.feed, after_time=time)
        assert refused.value.metadata == {"dropped_through": "2"}
    for time, position in ((midnight, 2), (kept, 2), (kept + timedelta(hours=24), 4)):
        assert await start(own.feed, after_time=time) == (epoch, position)
