"""What was found by breaking things: connections that died, locks that are kept for long, an election that is lost."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from bookings.tables import known_stations
from dbcommon.database import Database
from dbcommon.election import lead
from dbcommon.references import Known, KnownRows, Referent
from dbcommon.statements import inserting
from faults import DatabaseUnavailable, LockTimeout, Overloaded
from ids import new_id
from local.database import Server

BODY = "SELECT b.id FROM bookings.bookings b WHERE b.station_id = s.tenant LIMIT 1"
FACTS = {"code": "X", "time_zone": "UTC", "currency_code": "EUR"}


@pytest.fixture
async def platform(server: Server, database: str) -> AsyncIterator[Database]:
    """The role that crosses stations."""
    made = Database(server.url(database, "bookings_platform"), pool_size=4)
    yield made
    await made.close()


@pytest.fixture
def stations(platform: Database) -> KnownRows:
    """The known stations of bookings."""
    return KnownRows(platform, known_stations, owner="identity", type="identity.Station", facts=lambda _: FACTS)


async def test_a_connection_that_died_is_one_typed_failure_at_most(
    server: Server, database: str, outside: asyncpg.Connection
) -> None:
    """As a rule none: that it is closed is noticed before it is used."""
    app = Database(server.url(database, "bookings_app"), pool_size=1)
    pid = "SELECT pg_backend_pid() AS pid, s.tenant LIMIT 1"
    [first] = await app.read(pid, tenant=new_id())
    assert await outside.fetchval("SELECT pg_terminate_backend($1, 5000)", first["pid"])
    with contextlib.suppress(DatabaseUnavailable):
        await app.read(pid, tenant=new_id())
    [second] = await app.read(pid, tenant=new_id())
    assert second["pid"] != first["pid"]
    await app.close()


async def test_a_connection_that_a_read_failed_on_is_not_used_again(server: Server, database: str) -> None:
    """It may be dying: the server has said so, and the socket is still open."""
    app = Database(server.url(database, "bookings_app"), pool_size=1)
    body, pids = "SELECT pg_backend_pid() AS pid, s.tenant, 1 / $2::int AS one LIMIT 1", []
    for divisor in (1, 1, 0, 1):
        with contextlib.suppress(asyncpg.DivisionByZeroError):
            pids.append((await app.read(body, divisor, tenant=new_id()))[0]["pid"])
    assert pids[0] == pids[1] != pids[2]
    await app.close()


async def test_more_callers_than_may_wait_are_refused_at_once(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbcommon.database.WAITING_MAX", 2)
    app = Database(server.url(database, "bookings_app"), pool_size=1)
    release = asyncio.Event()

    async def hold() -> None:
        async with app.transaction():
            await release.wait()

    holders = [asyncio.create_task(hold()) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await hold()
    assert refused.value.metadata == {"limit": "3"}
    release.set()
    await asyncio.gather(*holders)
    await app.ping()
    await app.close()


class Said:
    """What an owner answered, or announced."""

    def __init__(self, id: UUID, state: int) -> None:
        self.entity_id, self.epoch, self.version = str(id), UUID(int=1), 1
        self.state = state
        self.facts = None


async def test_a_row_that_cannot_be_closed_yet_keeps_no_other_from_being_closed(
    platform: Database, stations: KnownRows, outside: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbcommon.references.closing.LOCK_SECONDS", 1)
    busy, free = sorted((new_id(), new_id()))
    await close_soon(platform, busy, free)
    async with outside.transaction():
        await outside.execute("SELECT FROM bookings.known_stations WHERE id = $1 FOR KEY SHARE", busy)
        await stations.closing.take_turn()
        assert await states(platform) == {busy: Known.CLOSING, free: Known.CLOSED}
    await stations.closing.take_turn()
    assert await states(platform) == {busy: Known.CLOSED, free: Known.CLOSED}


async def test_a_turn_that_is_over_is_followed_by_one_that_goes_on_after_it(
    platform: Database, stations: KnownRows, outside: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbcommon.references.closing.LOCK_SECONDS", 1)
    monkeypatch.setattr("dbcommon.references.closing.TURN_SECONDS", 0)
    stuck, busy = sorted((new_id(), new_id()))
    await close_soon(platform, stuck, busy)
    refer = "SELECT FROM bookings.known_stations WHERE id = $1 FOR KEY SHARE"
    async with outside.transaction():
        await outside.execute(refer, stuck)
        await outside.execute("SAVEPOINT held")
        await outside.execute(refer, busy)
        await stations.closing.take_turn()
        turn = asyncio.create_task(stations.closing.take_turn())
        async with asyncio.timeout(10):
            while not await outside.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                await asyncio.sleep(0.01)
        await outside.execute("ROLLBACK TO held")  # only the second is free now
        await turn
        assert await states(platform) == {stuck: Known.CLOSING, busy: Known.CLOSED}


async def test_who_stores_an_answer_queues_for_the_cursors_row_and_does_not_share_it(
    platform: Database, stations: KnownRows, outside: asyncpg.Connection
) -> None:
    """Sharers that overlap would pass by the consumer that waits to move the cursor, for ever."""
    async with platform.transaction() as tx:
        await tx.execute("INSERT INTO bookings.feed_state (owner, epoch) VALUES ('identity', :e)", {"e": UUID(int=1)})
    id = new_id()
    async with outside.transaction():
        await outside.execute("SELECT FROM bookings.feed_state WHERE owner = 'identity' FOR SHARE")
        with pytest.raises(LockTimeout):
            await stations.store({id: Said(id, Referent.OPEN)})
    await stations.store({id: Said(id, Referent.OPEN)})
    assert await states(platform) == {id: Known.OPEN}


async def test_a_known_row_that_a_restore_lost_is_looked_up_again(
    platform: Database, stations: KnownRows, outside: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with platform.transaction() as tx:
        await tx.execute("INSERT INTO bookings.feed_state (owner, epoch) VALUES ('identity', :e)", {"e": UUID(int=1)})
    id = new_id()
    await stations.store({id: Said(id, Referent.OPEN)})
    await outside.execute("DELETE FROM bookings.known_stations")
    assert await stations.missing([id]) == []
    monkeypatch.setattr("dbcommon.references.known.SEEN_SECONDS", 0.0)
    assert await stations.missing([id]) == [id]


async def test_a_leader_that_is_cancelled_while_its_election_is_lost_stops(
    server: Server, database: str, outside: asyncpg.Connection
) -> None:
    url = server.url(database, "bookings_platform")
    working, unwinding, unwound = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        working.set()
        try:
            await asyncio.Event().wait()
        finally:
            unwinding.set()
            await asyncio.shield(unwound.wait())

    leader = asyncio.create_task(lead(url, "a test", work))
    await working.wait()
    await outside.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bookings_platform' AND datname = $1", database
    )
    async with asyncio.timeout(20):
        await unwinding.wait()
    leader.cancel()
    unwound.set()
    await asyncio.wait({leader}, timeout=10)
    assert leader.cancelled()


LEADER = """
import asyncio, sys
from dbcommon.election import lead

async def work():
    print("leads", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("stops", flush=True)

asyncio.run(lead(sys.argv[1], "a test", work))
"""


async def test_a_leader_that_freezes_is_replaced_and_stops_when_it_goes_on(server: Server, database: str) -> None:
    url, leads = server.url(database, "bookings_platform"), asyncio.Event()

    async def work() -> None:
        leads.set()
        await asyncio.Event().wait()

    pipe = asyncio.subprocess.PIPE
    frozen = await asyncio.create_subprocess_exec(sys.executable, "-c", LEADER, url, stdout=pipe, stderr=pipe)
    assert frozen.stdout
    async with asyncio.timeout(40):
        assert await frozen.stdout.readline() == b"leads\n"
        next_one = asyncio.create_task(lead(url, "a test", work))
        await asyncio.wait({next_one}, timeout=1.5)  # it has asked, and was not elected
        assert not leads.is_set()
        frozen.send_signal(signal.SIGSTOP)
        await leads.wait()
        frozen.send_signal(signal.SIGCONT)
        assert await frozen.stdout.readline() == b"stops\n"
        assert await frozen.wait()
    next_one.cancel()
    await asyncio.wait({next_one})


async def close_soon(platform: Database, *stations: UUID) -> None:
    row = {"epoch": UUID(int=1), "version": 1, "state": Known.CLOSING.value, **FACTS}
    async with platform.transaction() as tx:
        for id in stations:
            await tx.execute(inserting(known_stations, ("id", *row)), {"id": id, **row})


async def states(platform: Database) -> dict[UUID, Known]:
    async with platform.transaction(read_only=True) as tx:
        rows = await tx.execute("SELECT id, state FROM bookings.known_stations")
        return {row.id: Known(row.state) for row in rows}


@pytest.mark.parametrize("kind", ["transaction", "read"])
async def test_who_is_cancelled_does_not_wait_for_a_backend_that_froze(server: Server, database: str, kind: str) -> None:
    if os.environ.get("TEPPAN_DATABASE_URL"):
        pytest.skip("the server's processes are not ours to stop")
    app = Database(server.url(database, "bookings_app"), pool_size=1)
    async with app.transaction() as tx:
        pid = int((await tx.execute("SELECT pg_backend_pid()")).value())

    async def ask() -> None:
        if kind == "transaction":
            async with app.transaction() as tx:
                await tx.execute("SELECT 1")
        else:
            await app.read(BODY, tenant=new_id())

    os.kill(pid, signal.SIGSTOP)
    try:
        asking = asyncio.create_task(ask())
        await asyncio.wait({asking}, timeout=0.5)
        assert not asking.done()
        asking.cancel()
        await asyncio.wait({asking}, timeout=1.5)  # closing such a connection takes 2 s
        assert asking.cancelled()
        async with asyncio.timeout(10):
            await ask()  # on another connection
    finally:
        os.kill(pid, signal.SIGCONT)
    await app.close()
