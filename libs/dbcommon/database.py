"""Transactions and reads, on an asyncpg pool.

Two promises are asserted at run time: no RPC inside a transaction, and no connection held while a client reads. No session state
is ever set, so nothing is reset when a connection goes back: tenant, isolation level and lock_timeout travel with BEGIN in one message.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from dbcommon import tenancy
from dbcommon.connections import CLOSE_SECONDS, assert_idle, held, is_closed, to_its_end, told
from dbcommon.statements import Row, Rows, arguments, compiled
from dbcommon.transactions import Parameters, Transaction, durably
from dbcommon.urls import endpoint
from dbcommon.wakes import News, Wakes
from faults import DatabaseUnavailable, Overloaded

__all__ = ["Database", "Transaction", "assert_idle", "durably"]

POOL_SIZE = 16
POOL_WAIT_SECONDS = 10
WAITING_MAX = 1_000
LOCK_SECONDS = 2
STATEMENTS_CACHED = 200


class Database:
    """A pool of connections of one role."""

    def __init__(self, url: str, *, pool_size: int = POOL_SIZE, prepared: bool = True) -> None:
        """Opens nothing yet. `url` is as `urls.endpoint` reads it; raises UrlInvalid.

        Without `prepared` no statement is kept on the server, and each runs in a transaction: for a pooler that gives each
        transaction another session (PgBouncer below 1.21 in transaction mode).
        """
        self._endpoint = endpoint(url)
        self._prepared = prepared
        self._size = pool_size
        self._pool: Any = None
        self._inside, self._inside_max = 0, pool_size + WAITING_MAX
        self.wakes: Wakes | None = None
        """Wakes the relay when something was committed for it."""

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

    async def records(self, body: str, *parameters: Any, tenant: UUID) -> bytes:
        """As `read`, but returns the rows as Postgres sends them: the bytes of `record_send` of each, one after the other."""
        rows = await self._fetch(tenancy.as_records(body), (tenant, *parameters))
        return rows[0][0] or b""

    async def copy(self, body: str, *parameters: UUID | datetime | int, tenant: UUID) -> bytes:
        """As `read`, but returns the output of a binary COPY: cheaper than `records` for many rows, and dearer for few."""
        query = tenancy.with_literals(tenancy.one_statement(body), (tenant, *parameters))
        chunks: list[bytes] = []

        async def keep(chunk: bytes) -> None:
            chunks.append(chunk)

        async def run(connection: Any) -> list[Any]:
            await to_its_end(connection, connection.copy_from_query(query, output=keep, format="binary"))
            return []

        await self._using(run)
        return b"".join(chunks)

    async def look(self, sql: str, parameters: Parameters | None = None) -> Rows:
        """Runs one statement that only reads, outside of any transaction, in one round trip; for roles that cross tenants.

        Its parameters are named. Of tenants' tables the application's role sees nothing here. Raises as `transaction`.
        """
        statement, names = compiled(sql)
        return Rows(await self._fetch(statement, arguments(names, parameters)))

    async def _fetch(self, statement: str, values: Sequence[Any]) -> list[Any]:
        return await self._using(lambda connection: connection.fetch(statement, *values))

    async def _using(self, use: Callable[[Any], Awaitable[list[Any]]]) -> list[Any]:
        """Runs one statement on a connection, outside of any transaction."""
        assert_idle()
        token = held.set("a connection")
        connection, broken = None, True
        try:
            connection = await self.acquire()
            rows = await (use(connection) if self._prepared else _in_one_transaction(connection, use))
            broken = False
        except asyncio.CancelledError:
            broken = False  # the pool has the statement cancelled, and waits for that
            raise
        except Exception as error:  # noqa: BLE001  # what it is to a caller is raised in its place
            raise told(error, connection) from None
        else:
            return rows
        finally:
            try:
                if connection is not None:
                    await self.release(connection, broken=broken)
            finally:
                held.reset(token)

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
                raise told(error, None) from None
            raise

    async def release(self, connection: Any, *, broken: bool = False) -> None:
        """Gives a connection back; one that is broken, or still in a transaction, is closed: the next user would see its rows."""
        self._inside -= 1
        if is_closed(connection):
            return  # the pool knows
        if broken or connection.is_in_transaction():
            connection.terminate()
        pool = self._pool
        if pool is not None:
            try:
                await pool.release(connection, timeout=CLOSE_SECONDS)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                return  # the server did not cancel in time, or is gone: the pool has closed the connection

    def committed(self) -> None:
        """Wakes the relay."""
        if self.wakes is not None:
            self.wakes.tell(News.OUTBOX)

    async def _open(self) -> Any:
        pool = self._pool = asyncpg.create_pool(
            **self._endpoint.arguments(), min_size=0, max_size=self._size, max_inactive_connection_lifetime=0,
            statement_cache_size=STATEMENTS_CACHED if self._prepared else 0, record_class=Row, reset=_nothing,
        )  # fmt: skip
        await pool  # makes no connection yet, and so does not wait
        return pool


async def _in_one_transaction(connection: Any, use: Callable[[Any], Awaitable[list[Any]]]) -> list[Any]:
    """What is prepared and then run must meet the same session: a pooler keeps it for a transaction."""
    await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY")
    rows = await use(connection)
    await connection.execute("COMMIT")
    return rows


async def _nothing(_: Any) -> None:
    """No session state is ever set, so there is nothing to reset: a round trip saved."""
