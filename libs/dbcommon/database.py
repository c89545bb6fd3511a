"""Transactions and reads, on an asyncpg pool.

Two promises are asserted at run time: no RPC inside a transaction, and no connection held while a client reads. No session state
is ever set, so nothing is reset when a connection goes back: tenant, isolation level and lock_timeout travel with BEGIN in one message.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import asyncpg

from dbcommon import tenancy
from dbcommon.failures import fault_of, without_values
from dbcommon.statements import Row, Rows, arguments, compiled
from faults import DatabaseUnavailable, Overloaded

POOL_SIZE = 16
POOL_WAIT_SECONDS = 10
WAITING_MAX = 1_000
CONNECT_SECONDS = 5
LOCK_SECONDS = 2
STATEMENTS_CACHED = 200
CLOSE_SECONDS = 0.25
"""How long a cancelled call waits for the server to cancel its statement; a connection for which that takes longer is closed."""

_held: ContextVar[str] = ContextVar("held", default="")
Parameters = Mapping[str, Any]


def assert_idle() -> None:
    """Fails where this task holds a connection: before an RPC goes out, before a client is made to wait."""
    if held := _held.get():
        raise AssertionError(f"this task still holds {held}; end it first")


class Transaction:
    """A transaction at READ COMMITTED, as `Database.transaction` begins it; commits when its block ends, or rolls back."""

    __slots__ = ("_begin", "_connection", "_database", "_token")

    def __init__(self, database: "Database", begin: str) -> None:
        """`begin` is BEGIN with everything that holds for this transaction."""
        self._database = database
        self._begin = begin
        self._connection: Any = None
        self._token: Token[str] | None = None

    async def execute(self, sql: str, parameters: Parameters | None = None) -> Rows:
        """Runs a statement, whose parameters are named (`:id`). Raises faults, and asyncpg's IntegrityConstraintViolationError."""
        statement, names = compiled(sql)
        connection = self._connection
        try:
            return Rows(await connection.fetch(statement, *arguments(names, parameters)))
        except Exception as error:  # noqa: BLE001  # what it is to a caller is raised in its place
            raise _told(error, connection) from None

    async def look(self, sql: str, parameters: Parameters | None = None) -> Rows:
        """Runs a statement that only reads, as `Database.look` does outside of a transaction."""
        return await self.execute(sql, parameters)

    async def count(self, sql: str, parameters: Parameters | None = None) -> int:
        """Runs a statement that returns nothing; how many rows it changed. Raises as `execute`."""
        statement, names = compiled(sql)
        connection = self._connection
        try:
            status = await connection.execute(statement, *arguments(names, parameters))
        except Exception as error:  # noqa: BLE001  # what it is to a caller is raised in its place
            raise _told(error, connection) from None
        return int(status.rpartition(" ")[2])

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What is inside is undone as a whole where it raises, and the transaction goes on."""
        await self._say("SAVEPOINT inside")
        try:
            yield
        except BaseException as error:
            if isinstance(error, Exception) and not _closed(self._connection):
                await self._say("ROLLBACK TO SAVEPOINT inside; RELEASE SAVEPOINT inside")
            raise
        await self._say("RELEASE SAVEPOINT inside")

    async def __aenter__(self) -> Self:
        assert_idle()
        self._token = _held.set("a transaction")
        try:
            self._connection = await self._database.acquire()
            await self._say(self._begin)
        except BaseException:
            await self._let_go(broken=True)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        broken = True
        try:
            if error is None:
                await self._say("COMMIT")
            elif not _closed(self._connection):
                await self._connection.execute("ROLLBACK", timeout=CLOSE_SECONDS)
            broken = False
        except Exception:
            if error is None:
                raise  # else what happened first is what counts: the connection is closed, and that rolls back
        finally:
            await self._let_go(broken=broken)

    async def _say(self, command: str) -> None:
        try:
            await self._connection.execute(command)
        except Exception as error:  # noqa: BLE001  # what it is to a caller is raised in its place
            raise _told(error, self._connection) from None

    async def _let_go(self, *, broken: bool) -> None:
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                await self._database.release(connection, broken=broken)
        finally:
            if self._token is not None:
                _held.reset(self._token)
                self._token = None


class Database:
    """A pool of connections of one role."""

    def __init__(self, url: str, *, pool_size: int = POOL_SIZE) -> None:
        """Opens nothing yet. `url` is `postgresql://role:password@host:port/database`."""
        self._url = url
        self._size = pool_size
        self._pool: Any = None
        self._inside, self._inside_max = 0, pool_size + WAITING_MAX

    async def close(self) -> None:
        """Closes all connections; those in use too, after a moment."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    def transaction(
        self, *, tenant: UUID | None = None, read_only: bool = False, lock_seconds: int = LOCK_SECONDS
    ) -> Transaction:  # fmt: skip
        """A transaction at READ COMMITTED that sees the tenant's rows; commits at its end, or rolls back.

        Raises DatabaseUnavailable (also where nobody knows whether it committed), LockTimeout, DeadlineExceeded, Overloaded.
        """
        begin = f"BEGIN ISOLATION LEVEL READ COMMITTED {'READ ONLY' if read_only else 'READ WRITE'}"
        begin += f";SET LOCAL lock_timeout = '{lock_seconds:d}s'"
        if tenant is not None:
            begin += f";SET LOCAL {tenancy.SETTING} = '{UUID(int=tenant.int)}'"
        return Transaction(self, begin)

    async def read(self, body: str, *parameters: Any, tenant: UUID) -> list[Any]:
        """Runs one statement of one tenant outside of any transaction, in one round trip; returns its rows. Raises as `transaction`.

        The body is as `tenancy.one_statement` describes it; its parameters begin at `$2`.
        """
        return await self._fetch(tenancy.one_statement(body), (tenant, *parameters))

    async def look(self, sql: str, parameters: Parameters | None = None) -> Rows:
        """Runs one statement that only reads, outside of any transaction, in one round trip; for roles that cross tenants.

        Its parameters are named. Of tenants' tables the application's role sees nothing here. Raises as `transaction`.
        """
        statement, names = compiled(sql)
        return Rows(await self._fetch(statement, arguments(names, parameters)))

    async def _fetch(self, statement: str, values: Sequence[Any]) -> list[Any]:
        assert_idle()
        token = _held.set("a connection")
        connection, broken = None, True
        try:
            connection = await self.acquire()
            rows: list[Any] = await connection.fetch(statement, *values)
            broken = False
        except asyncio.CancelledError:
            broken = False  # the pool has the statement cancelled, and waits for that
            raise
        except Exception as error:  # noqa: BLE001  # what it is to a caller is raised in its place
            raise _told(error, connection) from None
        else:
            return rows
        finally:
            try:
                if connection is not None:
                    await self.release(connection, broken=broken)
            finally:
                _held.reset(token)

    async def ping(self) -> None:
        """Asks the database for a sign of life; raises as `transaction`."""
        await self.look("SELECT 1")

    async def acquire(self) -> Any:
        """Takes a connection, for `release`; for what `transaction` and `read` do not do. Raises as `transaction`."""
        if self._inside >= self._inside_max:
            raise Overloaded(f"{self._inside} calls use or wait for the database", limit=self._inside_max)
        self._inside += 1
        try:
            pool = self._pool or await self._open()
            async with asyncio.timeout(POOL_WAIT_SECONDS) as waiting:
                return await pool.acquire()
        except BaseException as error:
            self._inside -= 1
            if isinstance(error, TimeoutError) and waiting.expired():
                raise DatabaseUnavailable("all connections to the database are in use") from error
            if isinstance(error, Exception):
                raise _told(error, None) from None
            raise

    async def release(self, connection: Any, *, broken: bool = False) -> None:
        """Gives a connection back; one that is broken, or still in a transaction, is closed: the next user would see its rows."""
        self._inside -= 1
        if _closed(connection):
            return  # the pool knows
        if broken or connection.is_in_transaction():
            connection.terminate()
        pool = self._pool
        if pool is not None:
            try:
                await pool.release(connection, timeout=CLOSE_SECONDS)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                return  # the server did not cancel in time, or is gone: the pool has closed the connection

    async def _open(self) -> Any:
        pool = self._pool = asyncpg.create_pool(
            self._url, min_size=0, max_size=self._size, max_inactive_connection_lifetime=0, timeout=CONNECT_SECONDS,
            statement_cache_size=STATEMENTS_CACHED, record_class=Row, reset=_nothing,
        )  # fmt: skip
        await pool  # makes no connection yet, and so does not wait
        return pool


async def _nothing(_: Any) -> None:
    """No session state is ever set, so there is nothing to reset: a round trip saved."""


def _closed(connection: Any) -> bool:
    """Whether a connection is closed: the pool takes one back by itself that broke, and then it answers nothing more."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


def _told(error: Exception, connection: Any) -> Exception:
    """What is raised in place of an error: the fault that it is to a caller, or itself without what was sent."""
    if isinstance(error, asyncpg.InterfaceError) and (connection is None or _closed(connection)):
        return DatabaseUnavailable("the connection to the database broke; nobody knows what was committed")
    return fault_of(error) or without_values(error)


async def durably(tx: Transaction) -> None:
    """Lets the commit wait for the disk, and for a synchronous standby where there is one, whatever the server's default."""
    await tx.execute(
        "SELECT set_config('synchronous_commit', 'on', true)"
        " WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')"
    )
