"""Stopped at each of its awaits, a use of the database leaves all of its effect or none, and the pool as it was."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest

from bookings.store import listing
from bookings.wire.bookings import plan
from dbcommon.connections import held
from dbcommon.copying import Copies
from dbcommon.database import Database
from dbcommon.encoded import encoded
from dbcommon.keyset import Keyset, pages
from faults import DatabaseUnavailable
from local.database import Server
from rowwire import Loaded
from tests.conftest import new_database
from tests.deployed import eventually
from tests.encoders import copy_reader
from tests.integration.crowd import ALL, INSERT, OWN, TABLE, expect_own, settle_in, tenants_in
from tests.integration.sagas import Process, World, world_on
from tests.integration.stopping import Way, stopped
from tests.integration.watched import connections_of
from tests.rowwire_reference import ReferenceEncoder

AWAITS_MIN, AWAITS_MAX = 5, 500
"""What is stopped more seldom was not stopped where it matters; what is stopped more often never ends."""
LISTED = 7
OF_POOLS = "FROM pg_stat_activity WHERE datname = current_database() AND usename IN ('bookings_app', 'bookings_platform')"
ROWS = f"SELECT id FROM {TABLE} WHERE id = ANY ($1)"
BOOKED = """SELECT (SELECT count(*) FROM bookings.bookings WHERE station_id = $1),
  (SELECT count(*) FROM bookings.requests WHERE station_id = $1), (SELECT count(*) FROM bookings.outbox WHERE station_id = $1),
  (SELECT coalesce(sum(taken), 0) FROM bookings.slots WHERE station_id = $1)"""
"""What one booking consists of, once for each."""


@dataclass(kw_only=True)
class Stage:
    """A process whose pools have one connection each, so that the next tenant gets what this one leaves."""

    world: World
    process: Process
    tenant: UUID
    other: UUID
    listed: UUID
    """A station that has some bookings."""
    ids: list[UUID] = field(default_factory=list)
    """Of the rows that this turn writes, all or none."""

    @property
    def app(self) -> Database:
        return self.process.app

    @property
    def list(self) -> Keyset:
        """The station's bookings, in pages and batches of few."""
        query = listing.ListQuery(
            station_id=self.listed, start_from=None, start_before=None, states=(), descending=False, page_size=2, after=None
        )
        return listing.keyset(query)

    async def expect_whole_pools(self, way: Way) -> None:
        """Each connection is free and in no transaction, and the next tenant sees its own rows and no others."""
        for database in (self.process.app, self.process.platform):
            await eventually(lambda database=database: _whole(database))  # type: ignore[misc]  # bound here
        assert not held.get()
        await eventually(lambda: self._no_others(way))
        assert await self.app.look(ALL) == []
        expect_own(self.other, [row["station_id"] for row in await self.app.read(OWN, tenant=self.other)])

    async def _no_others(self, way: Way) -> bool:
        """Whether the sessions at the server are those of the pools, and none is in a transaction."""
        if way is Way.DROPPED:  # asyncpg leaves the session that it was making, as a process does that dies
            end = f"SELECT pg_terminate_backend(pid) {OF_POOLS} AND pid <> ALL ($1)"
            await self.world.outside.execute(end, self._pids())
        there = await self.world.outside.fetch(f"SELECT pid, state {OF_POOLS}")
        return sorted((row["pid"], row["state"]) for row in there) == [(pid, "idle") for pid in sorted(self._pids())]

    def _pids(self) -> Sequence[int]:
        idle = [*self.process.app._pool._idle, *self.process.platform._pool._idle]
        return [each.get_server_pid() for each in idle if not each.is_closed()]


def _whole(database: Database) -> bool:
    """Whether a pool has all its connections; what a question that several share has taken, it soon gives back."""
    pool = database._pool
    return (database._inside, database._of, list(pool._waiting), pool._open) == (0, {}, [], len(pool._idle)) and not pool._settling


# What is stopped ------------------------------------------------------------------------------------------------------


async def reads(stage: Stage) -> None:
    expect_own(stage.tenant, [row["station_id"] for row in await stage.app.read(OWN, tenant=stage.tenant)])


async def reads_records(stage: Stage) -> None:
    data = await stage.app.records(OWN, tenant=stage.tenant)
    expect_own(stage.tenant, tenants_in(data, (stage.tenant, stage.other)))


async def copies(stage: Stage) -> None:
    data = (await stage.app.copy(OWN, tenant=stage.tenant)).data
    expect_own(stage.tenant, tenants_in(data, (stage.tenant, stage.other)))


async def copies_by_asyncpg(stage: Stage) -> None:
    with patch.object(stage.app, "_copies", Copies(None)):
        await copies(stage)


async def lists(stage: Stage) -> None:
    shown = [row["station_id"] async for page in pages(stage.app, stage.list) for row in page.rows]
    assert shown == [stage.listed] * LISTED


async def streams(stage: Stage) -> None:
    """The next batch is read by a task of its own while a page is being sent."""
    encoder = ReferenceEncoder(plan(listing.TYPED))
    shown = [page async for page in encoded(stage.app, stage.list, encoder)]
    assert len(shown) == (LISTED + 1) // 2


async def writes(stage: Stage) -> None:
    async with stage.app.transaction(tenant=stage.tenant) as tx:
        for id in stage.ids:
            async with tx.savepoint():
                await tx.execute(INSERT, {"station": stage.tenant, "id": id, "author": stage.tenant})
        expect_own(stage.tenant, (await tx.execute(ALL)).column())


async def books(stage: Stage) -> None:
    """All of CreateBooking behind its wire: references, the request, the slot, the booking, the event."""
    await stage.world.work("create")(stage.process)


Work = Callable[[Stage], Coroutine[Any, Any, None]]
READS: list[Work] = [reads, reads_records, copies, copies_by_asyncpg]
LISTS: list[Work] = [lists, streams]
STOPPED_READS = [
    *itertools.product(READS, Way),
    # No coroutine that reads from a generator is dropped: the loop closes generators first, when it ends, and lets them await.
    *itertools.product(LISTS, (Way.CANCELLED, Way.CUT_OFF)),
]


async def written(stage: Stage) -> Sequence[int]:
    there = {row["id"] for row in await stage.world.outside.fetch(ROWS, stage.ids)}
    return [int(id in there) for id in stage.ids]


async def booked(stage: Stage) -> Sequence[int]:
    return [int(each) for each in await stage.world.outside.fetchrow(BOOKED, stage.world.saga.station)]


# Tests ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def stage(server: Server, template: str, compiled_library: Loaded) -> AsyncIterator[Stage]:
    name = new_database()
    await server.create(name, template)
    async with world_on(server, name) as world:
        await world.processes["bookings"].end()
        process = Process(server, name, "bookings", world.clock)
        urls, reader = server.roles("bookings", name), copy_reader(compiled_library)
        process.app, process.platform = (Database(urls[kind], pool_size=1, reader=reader) for kind in ("app", "platform"))
        process._connections = [connections_of(each) for each in (process.app, process.platform)]
        world.processes["bookings"] = process
        tenant, other = uuid4(), uuid4()
        await settle_in(world.outside, (tenant, other))
        for _ in range(LISTED):
            world.clock.now += timedelta(days=1)
            world.saga.create_id = uuid4()
            await world.take("create")
        yield Stage(world=world, process=process, tenant=tenant, other=other, listed=world.saga.station)
    await server.drop(name)


async def stops(stage: Stage, work: Work, at: int, way: Way, *, cold: bool) -> bool:
    """Stops work at one of its awaits; whether it came so far."""
    stage.ids = [uuid4(), uuid4()]
    await stage.world.begin()
    if cold:
        await stage.process.end()
    try:
        reached = await stopped(work(stage), at, way, itertools.chain(*stage.process._connections))
    except DatabaseUnavailable:
        assert way is Way.CUT_OFF
        reached = True
    await stage.expect_whole_pools(way)
    return reached


@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
@pytest.mark.parametrize(
    ("work", "way"), STOPPED_READS, ids=lambda given: given.value if isinstance(given, Way) else given.__name__
)
async def test_a_read_leaves_the_pool_as_it_was(stage: Stage, work: Work, way: Way, *, cold: bool) -> None:
    for at in range(1, AWAITS_MAX):
        if not await stops(stage, work, at, way, cold=cold):
            break
    assert at > (2 if cold else 1)


@pytest.mark.parametrize("cold", [False, pytest.param(True, marks=pytest.mark.long)], ids=["warm", "cold"])
@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize(("work", "effect"), [(writes, written), (books, booked)], ids=["writes", "books"])
async def test_a_write_has_all_of_its_effect_or_none_and_its_repeat_completes_it(
    stage: Stage,
    work: Work,
    effect: Callable[[Stage], Awaitable[Sequence[int]]],
    way: Way,
    tell: Callable[[str], None],
    *,
    cold: bool,
) -> None:
    seen, reached, at = set(), True, 0
    while reached:
        at += 1
        assert at < AWAITS_MAX
        reached = await stops(stage, work, at, way, cold=cold)
        counts = await effect(stage)
        assert set(counts) in ({0}, {1}), f"{counts} when it was stopped at await {at}"
        seen.add(counts[0])
        if work is books or not counts[0]:
            await work(stage)
        assert set(await effect(stage)) == {1}, f"{await effect(stage)} when it was repeated after a stop at await {at}"
    tell(f"{work.__name__}: {way.value} at each of {at - 1} awaits")
    assert seen == {0, 1}
    assert at > AWAITS_MIN
