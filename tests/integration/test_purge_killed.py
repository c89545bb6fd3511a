"""Whoever takes up a purge that another left brings it to its end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import pytest

from faults import NotClosedYet
from identity.domain.stations import State
from local.database import Server
from tests.integration.aside import Killed
from tests.integration.purges import Owner, owner_on


@pytest.fixture
async def owner(server: Server, database: str) -> AsyncIterator[Owner]:
    async with owner_on(server, database) as made:
        yield made


async def entombed(owner: Owner) -> UUID:
    """A station that is PURGING, and all have heard and removed what goes with it."""
    id = await owner.begun()
    await owner.announced(id)
    asked = await owner.purges.take_up(owner.things, id)
    assert asked is not None
    assert await owner.purges.entomb(owner.things, asked)
    await owner.announced(id)
    return id


async def deleted(owner: Owner) -> UUID:
    """A station whose purge has begun, and all have heard of it."""
    id = await owner.begun()
    await owner.announced(id)
    return id


@pytest.mark.parametrize(
    ("before", "passes"), [(deleted, {State.DELETED, State.PURGING}), (entombed, {State.PURGING, State.PURGED})]
)
async def test_a_purge_that_was_dropped_at_any_point_is_driven_on_to_its_end(
    owner: Owner, server: Server, database: str, before: Callable[[Owner], Awaitable[UUID]], passes: set[State]
) -> None:
    """At each suspension of the driver its connections die with it. Until PURGING the next call goes on, then the worker."""
    seen, killed, at = set(), True, 0
    while killed:
        at, id = at + 1, await before(owner)
        async with owner_on(server, database, relayed=False) as other:
            await other.platform.ping()
            killed = await Killed(as_far_as_it_goes(other, id), at, other.kill)
        await gone(owner)
        state, _ = await owner.seen(id)
        seen.add(state)
        if state is State.DELETED:
            await owner.drive(id)
        await until_purged(owner, id)
        assert await owner.seen(id) == (State.PURGED, 4)
    assert seen == passes
    assert at > 10


async def as_far_as_it_goes(owner: Owner, id: UUID) -> None:
    with contextlib.suppress(NotClosedYet):
        await owner.drive(id, patience=0)


async def gone(owner: Owner) -> None:
    """Returns when what was on its way in another's connections is done, or never will be."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'identity_platform' AND datname = current_database() AND xact_start IS NOT NULL AND state <> 'active'"
    async with asyncio.timeout(10):
        while await owner.rows.fetchval(others):
            await asyncio.sleep(0.01)


async def until_purged(owner: Owner, *ids: UUID) -> None:
    """Lets the worker run until they are."""
    worker = asyncio.create_task(owner.driver.run())
    try:
        async with asyncio.timeout(20):
            while {(await owner.seen(id))[0] for id in ids} != {State.PURGED}:
                await asyncio.sleep(0.02)
    finally:
        worker.cancel()
        await asyncio.wait({worker})


async def test_the_worker_ends_what_is_purging_and_what_is_stuck_keeps_no_other_back(owner: Owner) -> None:
    bookings = owner.referrers["bookings"]
    stuck, other, kept = await entombed(owner), await entombed(owner), await owner.begun()
    bookings.left["slots.station_id"] = 1
    await owner.rows.execute("DELETE FROM identity.stations WHERE id = $1", stuck)  # nobody can say what has become of it
    assert (await owner.purges.tombstones()).count == 2
    await until_purged(owner, other)
    assert (await owner.seen(kept))[0] is State.DELETED
    found = await owner.purges.tombstones()
    assert (found.count, found.seconds > 0) == (1, True)
