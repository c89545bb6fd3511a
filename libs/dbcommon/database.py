"""Transactions and reads.

Two promises are asserted at run time: no RPC inside a transaction, and no connection held while a client reads.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

import asyncpg
import sqlalchemy.exc
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from dbcommon import tenancy
from faults import DatabaseUnavailable, DeadlineExceeded, Fault, LockTimeout, Overloaded

POOL_SIZE = 16
POOL_WAIT_SECONDS = 10
WAITING_MAX = 1_000
CONNECT_SECONDS = 5
LOCK_SECONDS = 2
STATEMENTS_CACHED = 200

Transaction = AsyncConnection

_held: ContextVar[str] = ContextVar("held", default="")


def assert_idle() -> None:
    """Fails where this task holds a connection: before an RPC goes out, before a client is made to wait."""
    if held := _held.get():
        raise AssertionError(f"this task still holds {held}; end it first")


class Read:
    """One statement of one tenant, outside of any transaction."""

    def __init__(self, connection: asyncpg.Connection, tenant: UUID) -> None:
        """Takes a connection for one use."""
        self._connection = connection
        self._tenant = tenant
        self._used = False

    async def rows(self, body: str, *parameters: Any) -> list[asyncpg.Record]:
        """Runs a body as `tenancy.one_statement` describes it; its parameters begin at `$2`."""
        if self._used:
            raise AssertionError("a read is one statement; several are a read-only transaction")
        self._used = True
        rows: list[asyncpg.Record] = await self._connection.fetch(tenancy.one_statement(body), self._tenant, *parameters)
        return rows


class Database:
    """A pool of connections of one role."""

    def __init__(self, url: str, *, pool_size: int = POOL_SIZE) -> None:
        """Opens nothing yet. `url` is `postgresql://role:password@host:port/database`."""
        self._inside, self._inside_max = 0, pool_size + WAITING_MAX
        self._engine: AsyncEngine = create_async_engine(
            url.replace("postgresql://", "postgresql+asyncpg://", 1),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=POOL_WAIT_SECONDS,
            hide_parameters=True,  # they are what people sent, and errors are logged
            pool_reset_on_return=None,  # no session state is ever set, so there is nothing to reset: a round trip saved
            connect_args={
                "connection_class": tenancy.TenantConnection,
                "timeout": CONNECT_SECONDS,
                "statement_cache_size": STATEMENTS_CACHED,
            },
        )
        event.listen(self._engine.sync_engine, "checkin", _refuse_open_transactions)

    async def close(self) -> None:
        """Closes the connections that nobody uses."""
        await self._engine.dispose()

    @asynccontextmanager
    async def transaction(
        self, *, tenant: UUID | None = None, read_only: bool = False, lock_seconds: int = LOCK_SECONDS
    ) -> AsyncIterator[Transaction]:
        """A transaction at READ COMMITTED that sees the tenant's rows; commits at its end, or rolls back.

        Raises DatabaseUnavailable (also where nobody knows whether it committed), LockTimeout, DeadlineExceeded, Overloaded.
        """
        settings = f"SET LOCAL lock_timeout = '{lock_seconds:d}s'"
        if tenant is not None:
            settings += f";SET LOCAL {tenancy.SETTING} = '{UUID(int=tenant.int)}'"
        with _holding("a transaction"), self._admitted(), tenancy.beginning_with(settings), _translated():
            async with self._engine.connect() as connection:
                if read_only:
                    await connection.execution_options(postgresql_readonly=True)
                async with connection.begin():
                    yield connection

    @asynccontextmanager
    async def read(self, *, tenant: UUID) -> AsyncIterator[Read]:
        """A connection for exactly one statement of one tenant, in one round trip. Raises as `transaction`."""
        with _holding("a connection"), self._admitted(), _translated():
            pooled = await self._engine.raw_connection()
            try:
                yield Read(pooled.driver_connection, tenant)
            except BaseException:  # it may be broken, and SQLAlchemy, past which it was used, does not know
                await greenlet_spawn(pooled.invalidate)
                raise
            finally:
                await greenlet_spawn(pooled.close)

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """Bounds how many wait for a connection. Raises Overloaded."""
        if self._inside >= self._inside_max:
            raise Overloaded(f"{self._inside} calls use or wait for the database", limit=self._inside_max)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def ping(self) -> None:
        """Asks the database for a sign of life; raises as `transaction`."""
        async with self.transaction(read_only=True) as tx:
            await tx.execute(text("SELECT 1"))


async def durably(tx: Transaction) -> None:
    """Lets the commit wait for the disk, and for a synchronous standby where there is one, whatever the server's default."""
    await tx.execute(
        text(
            "SELECT set_config('synchronous_commit', 'on', true)"
            " WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')"
        )
    )


def _refuse_open_transactions(dbapi: Any, record: Any) -> None:
    """Closes a connection that comes back broken, or inside a transaction: the next user would see another tenant's rows."""
    if dbapi is not None and (dbapi.driver_connection.is_closed() or dbapi.driver_connection.is_in_transaction()):
        record.invalidate()


@contextmanager
def _holding(what: str) -> Iterator[None]:
    assert_idle()
    token = _held.set(what)
    try:
        yield
    finally:
        _held.reset(token)


@contextmanager
def _translated() -> Iterator[None]:
    """Turns the failures that a caller may meet into faults; a mistake of ours stays what it is."""
    try:
        yield
    except Exception as error:
        if (fault := fault_of(error)) is None:
            raise
        raise fault from error


def fault_of(error: Exception) -> Fault | None:
    """What a failure of the database is to a caller; None where it is a mistake of ours, or a fault already."""
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return DatabaseUnavailable("all connections to the database are in use")
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        return _fault_of(error)
    if isinstance(error, asyncpg.PostgresError):
        return _fault_of_state(error.sqlstate)
    if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return DatabaseUnavailable("the database does not answer")
    return None


def sqlstate(error: Exception) -> str | None:
    """The SQLSTATE of an error of the database, where it has one."""
    state: str | None = getattr(getattr(error, "orig", error), "sqlstate", None)
    return state


def _fault_of(error: sqlalchemy.exc.DBAPIError) -> Fault | None:
    state = sqlstate(error)
    if state is None and isinstance(error, sqlalchemy.exc.InterfaceError | sqlalchemy.exc.OperationalError):
        return DatabaseUnavailable("the database does not answer")
    if error.connection_invalidated:
        return DatabaseUnavailable("the connection to the database broke; nobody knows what was committed")
    return _fault_of_state(state)


def _fault_of_state(state: str | None) -> Fault | None:
    """By SQLSTATE; see appendix A of the PostgreSQL documentation."""
    if state is None:
        return None
    if state in _RETRIED:
        return LockTimeout("another call was at the same rows for too long")
    if state == "57014":  # query_canceled, by statement_timeout
        return DeadlineExceeded("the database took too long")
    if state.startswith(_UNAVAILABLE):
        return DatabaseUnavailable("the database cannot do it now")
    return None


_RETRIED: Sequence[str] = ("55P03", "40P01", "40001")  # lock_not_available, deadlock_detected, serialization_failure
_UNAVAILABLE = ("08", "53", "57P", "58")  # connections, resources (disk full too), shutdown, the system
