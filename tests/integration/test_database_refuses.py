"""A database that refuses connections, or breaks off: typed, wherever a connection is made, taken or used, and never INTERNAL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import grpc
import pytest
from teppan.bookings.v1 import bookings_pb2, customers_pb2, slots_pb2
from teppan.identity.v1 import stations_pb2

from dbcommon.database import Database, Transaction
from faults import DatabaseUnavailable
from ids import new_id
from local.database import Server
from tests.integration.stage import Teppan, booking_request, new, refused
from tests.unit.rpc_stage import details

BODY = "SELECT b.id FROM bookings.bookings b WHERE b.station_id = s.tenant LIMIT 1"
Use = Callable[[Database, Callable[[], Awaitable[None]]], Awaitable[Any]]


async def begins(database: Database, breaks: Callable[[], Awaitable[None]]) -> None:
    """It breaks before a transaction begins."""
    await breaks()
    async with database.transaction(tenant=new_id()):
        raise AssertionError("it began")


async def executes(database: Database, breaks: Callable[[], Awaitable[None]]) -> None:
    """Before a statement of a transaction."""
    async with database.transaction(tenant=new_id()) as tx:
        await breaks()
        await tx.execute("SELECT 1")


async def counts(database: Database, breaks: Callable[[], Awaitable[None]]) -> None:
    """Before a statement that returns nothing."""
    async with database.transaction(tenant=new_id()) as tx:
        await breaks()
        await tx.count("DELETE FROM bookings.schedule_slots")


async def commits(database: Database, breaks: Callable[[], Awaitable[None]]) -> None:
    """Before the commit."""
    async with database.transaction(tenant=new_id()) as tx:
        await tx.execute("SELECT 1")
        await breaks()


async def sets_a_savepoint(database: Database, breaks: Callable[[], Awaitable[None]]) -> None:
    """Before a savepoint."""
    async with database.transaction(tenant=new_id()) as tx:
        await breaks()
        async with tx.savepoint():
            raise AssertionError("it was set")


async def goes_back(database: Database, breaks: Callable[[], Awaitable[None]]) -> None:
    """Within a savepoint, whose statement fails by it."""
    async with database.transaction(tenant=new_id()) as tx, tx.savepoint():
        await breaks()
        await tx.execute("SELECT 1")


async def reads(database: Database, breaks: Callable[[], Awaitable[None]]) -> None:
    """Before a read of one statement."""
    await breaks()
    await database.read(BODY, tenant=new_id())


async def looks(database: Database, breaks: Callable[[], Awaitable[None]]) -> None:
    """Before a read that crosses tenants."""
    await breaks()
    await database.look("SELECT 1")


USES: list[Use] = [begins, executes, counts, commits, sets_a_savepoint, goes_back, reads, looks]


@pytest.fixture
async def app(server: Server, database: str) -> AsyncIterator[Database]:
    made = Database(server.url(database, "bookings_app"), pool_size=2)
    yield made
    await made.close()


@pytest.fixture
async def refusing(outside: asyncpg.Connection, database: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Ends the application's sessions, and lets it begin no other."""

    async def refuse() -> None:
        await outside.execute(f'ALTER DATABASE "{database}" CONNECTION LIMIT 0')
        await outside.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND usename LIKE '%_app'", database
        )

    yield refuse
    await outside.execute(f'ALTER DATABASE "{database}" CONNECTION LIMIT -1')


@pytest.mark.parametrize("pings", [0, 1], ids=["cold", "warm"])
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
async def test_it_is_unavailable_wherever_a_connection_is_made_or_used(
    app: Database, refusing: Callable[[], Awaitable[None]], outside: asyncpg.Connection, database: str, use: Use, pings: int
) -> None:  # fmt: skip
    for _ in range(pings):
        await app.ping()
    with pytest.raises(DatabaseUnavailable) as refusal:
        await use(app, refusing)
    assert refusal.value.retry_seconds
    with pytest.raises(DatabaseUnavailable):  # and again: no connection is to be had
        await app.ping()
    await outside.execute(f'ALTER DATABASE "{database}" CONNECTION LIMIT -1')
    await app.ping()


STATES = ["08000", "08006", "53000", "53100", "53200", "53300", "57P01", "57P02", "57P03", "57P05", "58000", "58030"]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", ["transaction", "read", "look"])
async def test_every_class_that_passes_is_unavailable(app: Database, outside: asyncpg.Connection, state: str, kind: str) -> None:
    await outside.execute(
        "CREATE FUNCTION public.fails() RETURNS uuid LANGUAGE plpgsql AS $$ BEGIN"
        f" RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$; GRANT USAGE ON SCHEMA public TO bookings_app"
    )
    with pytest.raises(DatabaseUnavailable):
        await _fails(app, kind)
    await app.ping()


async def _fails(app: Database, kind: str) -> None:
    if kind == "transaction":
        async with app.transaction(tenant=new_id()) as tx:
            await tx.execute("SELECT public.fails()")
    elif kind == "read":
        await app.read("SELECT public.fails() FROM (SELECT s.tenant) t LIMIT 1", tenant=new_id())
    else:
        await app.look("SELECT public.fails()")


async def test_every_call_says_unavailable_and_when_to_come_back(own: Teppan, outside: asyncpg.Connection) -> None:
    station = await own.station()
    await own.week(station, slots_a_day=4, capacity=2)
    customer = await own.customer(station)
    booking = await own.booking(station, customer)
    member = own.member(station)
    calls: dict[str, Callable[[], Any]] = {
        "CreateCustomer": lambda: own.customers.CreateCustomer(
            customers_pb2.CreateCustomerRequest(request_id=new(), station_id=station, name="Bo", email=f"{new()}@example.com"),
            metadata=member,
        ),
        "CreateBooking": lambda: own.bookings.CreateBooking(booking_request(station, customer), metadata=member),
        "GetBooking": lambda: own.bookings.GetBooking(
            bookings_pb2.GetBookingRequest(station_id=station, booking_id=booking.booking_id), metadata=member
        ),
        "ListBookings": lambda: own.bookings.ListBookings(bookings_pb2.ListBookingsRequest(station_id=station), metadata=member),
        "CancelBooking": lambda: own.bookings.CancelBooking(
            bookings_pb2.CancelBookingRequest(
                request_id=new(), station_id=station, booking_id=booking.booking_id,
                cancelled_by=bookings_pb2.CANCELLED_BY_STATION,
            ),
            metadata=member,
        ),
        "UpdateSchedule": lambda: own.slots.UpdateSchedule(
            slots_pb2.UpdateScheduleRequest(request_id=new(), station_id=station), metadata=member
        ),
    }  # fmt: skip
    database = own.database
    await outside.execute(f'ALTER DATABASE "{database}" CONNECTION LIMIT 0')
    try:
        for name, call in calls.items():
            await outside.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND usename = 'bookings_app'",
                database,
            )
            with pytest.raises(grpc.aio.AioRpcError) as failed:  # noqa: PT012  # a stream fails when it is read
                answer = call()
                _ = [message async for message in answer] if hasattr(answer, "__aiter__") else await answer
            info, _, seconds = details(failed.value)
            assert (failed.value.code(), info.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE"), name
            assert seconds > 0, name
    finally:
        await outside.execute(f'ALTER DATABASE "{database}" CONNECTION LIMIT -1')
    async with asyncio.timeout(20):
        while await unavailable(calls["GetBooking"]):
            await asyncio.sleep(0.05)


async def unavailable(call: Callable[[], Any]) -> bool:
    """Whether a call fails by the database."""
    try:
        await call()
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return True
        raise
    return False


@pytest.mark.parametrize("kind", ["transaction", "read"])
async def test_a_type_that_a_migration_changes_under_a_warm_connection_is_no_fault_of_ours(
    app: Database, outside: asyncpg.Connection, kind: str
) -> None:
    """Postgres refuses a prepared statement whose result has another type now (0A000), once for each."""
    statement = "SELECT requests FROM bookings.bookings"
    body = "SELECT b.requests FROM bookings.bookings b WHERE b.station_id = s.tenant LIMIT 1"

    async def ask() -> None:
        if kind == "read":
            await app.read(body, tenant=new_id())
            return
        async with app.transaction(tenant=new_id()) as tx:
            await _twice(tx, statement)

    for type in ("varchar(600)", "text", "varchar(700)"):
        await ask()
        await outside.execute(f"ALTER TABLE bookings.bookings ALTER COLUMN requests TYPE {type}")
        failures = 0
        for _ in range(4):
            try:
                await ask()
            except DatabaseUnavailable:
                failures += 1
        assert failures <= 1, "it is forgotten once it was refused"
    await ask()


async def _twice(tx: Transaction, statement: str) -> None:
    for _ in range(2):
        await tx.execute(statement)


async def test_a_short_deadline_keeps_the_connection(app: Database, outside: asyncpg.Connection, database: str) -> None:
    """Callers with deadlines of milliseconds would otherwise have the pool connect anew all the time."""
    sessions = "SELECT sessions FROM pg_stat_database WHERE datname = $1"
    await app.ping()
    pids = set()
    for _ in range(20):
        asking = asyncio.create_task(app.read("SELECT pg_sleep(5), s.tenant LIMIT 1", tenant=new_id()))
        await asyncio.wait({asking}, timeout=0.01)
        asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled()
        async with app.transaction(tenant=new_id()) as tx:
            pids.add((await tx.execute("SELECT pg_backend_pid()")).value())
    assert len(pids) <= 2, "as many as the pool has"
    assert await outside.fetchval(sessions, database) is not None


async def test_a_statement_that_its_caller_gave_up_runs_no_longer(app: Database, outside: asyncpg.Connection) -> None:
    running = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND state = 'active' AND pid <> pg_backend_pid()"
    )
    for kind in ("read", "transaction"):
        asking = asyncio.create_task(_sleeps(app, kind))
        async with asyncio.timeout(10):
            while not await outside.fetchval(running):
                await asyncio.sleep(0.005)
        asking.cancel()
        await asyncio.wait({asking})
        async with asyncio.timeout(2):
            while await outside.fetchval(running):
                await asyncio.sleep(0.005)
        await app.ping()


async def _sleeps(app: Database, kind: str) -> None:
    if kind == "read":
        await app.read("SELECT pg_sleep(60), s.tenant LIMIT 1", tenant=new_id())
        return
    async with app.transaction(tenant=new_id()) as tx:
        await tx.execute("SELECT pg_sleep(60)")


async def test_the_same_refusal_reaches_a_caller_of_identity(own: Teppan, outside: asyncpg.Connection) -> None:
    station = await own.station()
    await outside.execute(f'ALTER DATABASE "{own.database}" CONNECTION LIMIT 0')
    try:
        await outside.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND usename LIKE 'identity_%'",
            own.database,
        )
        refusal = await refused(own.stations.GetStation(stations_pb2.GetStationRequest(station_id=station), metadata=own.admin))
        assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
    finally:
        await outside.execute(f'ALTER DATABASE "{own.database}" CONNECTION LIMIT -1')
