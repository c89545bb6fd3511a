"""Nobody sees another tenant's row, and no connection is lost, whatever fails, is cancelled or is cut off at one pool."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from dbcommon.database import Database
from faults import DatabaseUnavailable, DeadlineExceeded, LockTimeout
from local.database import Server
from rowwire import CopyReader
from tests.deployed import eventually
from tests.integration.crowd import ALL, OPERATIONS, TABLE, Crowd, settle_in

POOL_SIZE = 6
CALLERS = 12
"""At once: some wait for a connection."""
TENANTS = 20
CANCELLED = 0.5
"""The share of operations that are cancelled, unless they end before."""
CANCELLED_TWICE = 0.3
"""Of those, the share that is cancelled again a moment later: a deadline here, and the caller's own."""
CANCELLED_SECONDS_MAX = 0.008
BRIEF = 3
"""A power of chance: half of the cancellations come within a millisecond, an eighth of the longest time."""
DISTURBED_SECONDS_MAX = 0.02
"""From one backend that is terminated, or its statement cancelled, to the next."""
TERMINATED = 0.4
EXPECTED = (
    DatabaseUnavailable, DeadlineExceeded, LockTimeout, asyncpg.UniqueViolationError, asyncpg.DivisionByZeroError,
    asyncpg.InsufficientPrivilegeError, asyncio.CancelledError,
)  # fmt: skip
BACKENDS = "FROM pg_stat_activity WHERE datname = current_database() AND usename = 'bookings_app'"
DISTURB = f"SELECT {{}}(pid) FROM (SELECT pid {BACKENDS} ORDER BY random() LIMIT 1) one"


@pytest.fixture
async def app(server: Server, database: str, reader: CopyReader | None) -> AsyncIterator[Database]:
    made = Database(server.url(database, "bookings_app"), pool_size=POOL_SIZE, reader=reader)
    yield made
    await made.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("operations", [2_000, pytest.param(20_000, marks=pytest.mark.long)])
async def test_a_crowd_at_one_pool_sees_no_foreign_row_and_loses_no_connection(
    app: Database, outside: asyncpg.Connection, operations: int, tell: Callable[[str], None]
) -> None:
    seed = random.randrange(10**6)
    tell(f"isolation: seed {seed}")
    chance = random.Random(seed)
    crowd = Crowd(app=app, tenants=[uuid4() for _ in range(TENANTS)], chance=chance)
    await settle_in(outside, crowd.tenants)
    todo, ending = iter(range(operations)), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(disturb(outside, random.Random(f"disturb {seed}"), ending))
        try:
            async with asyncio.TaskGroup() as callers:
                for _ in range(CALLERS):
                    callers.create_task(calls(crowd, todo))
        finally:
            ending.set()
    tell(f"isolation: {dict(crowd.told)}")
    await expect_a_whole_pool(app, outside)
    await expect_what_was_committed(crowd, outside)
    assert {error.__name__ for error in EXPECTED} | {"done", "UniqueViolationError inside"} == set(crowd.told)


async def calls(crowd: Crowd, todo: Iterator[int]) -> None:
    """One operation of some tenant after the other; half of them are cancelled after a moment."""
    chance = crowd.chance
    for _ in todo:
        task = asyncio.ensure_future(chance.choice(OPERATIONS)(crowd, chance.choice(crowd.tenants)))
        if chance.random() < CANCELLED:
            await asyncio.wait({task}, timeout=CANCELLED_SECONDS_MAX * chance.random() ** BRIEF)
            task.cancel()
            if chance.random() < CANCELLED_TWICE:
                await asyncio.wait({task}, timeout=CANCELLED_SECONDS_MAX * chance.random())
                task.cancel()
        try:
            await task
        except EXPECTED as error:
            crowd.told[type(error).__name__] += 1
        else:
            crowd.told["done"] += 1


async def disturb(outside: asyncpg.Connection, chance: random.Random, ending: asyncio.Event) -> None:
    """Ends some session of the pool, or its statement, again and again."""
    while not ending.is_set():
        await asyncio.sleep(chance.uniform(0, DISTURBED_SECONDS_MAX))
        how = "pg_terminate_backend" if chance.random() < TERMINATED else "pg_cancel_backend"
        await outside.execute(DISTURB.format(how))


async def expect_a_whole_pool(app: Database, outside: asyncpg.Connection) -> None:
    """Every place of the pool is free, its sessions are those of the server, and nothing is left on any of them."""
    pool = app._pool
    await eventually(lambda: not pool._settling)
    assert (app._inside, app._of, list(pool._waiting), pool._open) == (0, {}, [], len(pool._idle))

    async def as_many() -> bool:
        there = [connection for connection in pool._idle if not connection.is_closed()]
        return int(await outside.fetchval(f"SELECT count(*) {BACKENDS}")) == len(there)

    await eventually(as_many)
    assert not await outside.fetch(f"SELECT pid, state, query {BACKENDS} AND xact_start IS NOT NULL")
    taken = [await app.acquire() for _ in range(POOL_SIZE)]
    for connection in taken:
        assert await connection.fetchval("SELECT current_setting('teppan.station_id', true)") in {None, ""}
        assert await connection.fetch(ALL) == []
        app.release(connection)


async def expect_what_was_committed(crowd: Crowd, outside: asyncpg.Connection) -> None:
    """What was acknowledged is there, what failed is not, and no row was written by another tenant than its own."""
    rows: dict[UUID, asyncpg.Record] = {row["id"]: row for row in await outside.fetch(f"SELECT * FROM {TABLE}")}
    assert not [row for row in rows.values() if row["station_id"] != row["author"]]
    assert {id: rows[id]["station_id"] for id in crowd.committed if id in rows} == crowd.committed
    assert not crowd.never & rows.keys()
