"""Transactions and reads, on asyncpg.

Two promises are asserted at run time: no RPC inside a transaction, and no connection held while a client reads. No session state
is ever set, so nothing is reset when a connection goes back: tenant, isolation level and lock_timeout travel with BEGIN in one message.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from dbcommon import tenancy
from dbcommon.connections import assert_idle, held, told
from dbcommon.copying import Copies
from dbcommon.pool import Pool
from dbcommon.statements import Rows, arguments, compiled
from dbcommon.transactions import Parameters, Transaction, durably
from dbcommon.urls import endpoint
from dbcommon.wakes import News, Wakes
from faults import Overloaded
from rowwire import Copied, CopyReader

__all__ = ["Database", "Transaction", "assert_idle", "durably"]

POOL_SIZE = 16
WAITING_MAX = 1_000
LOCK_SECONDS = 2
Result = TypeVar("Result")


class Database:
    """A pool of connections of one role."""

    def __init__(
        self, url: str, *, pool_size: int = POOL_SIZE, prepared: bool = True, reader: CopyReader | None = None
    ) -> None:  # fmt: skip
        """Opens nothing yet. `url` is as `urls.endpoint` reads it; raises UrlInvalid.

        Without `prepared` no statement is kept on the server, and each runs in a transaction: for a pooler that gives each
        transaction another session (PgBouncer below 1.21 in transaction mode). `reader` makes `copy` cheap.
        """
        self._endpoint, self._size, self._prepared = endpoint(url), pool_size, prepared
        self._pool, self._copies = self._new_pool(), Copies(reader)
        self._inside, self._inside_max = 0, pool_size + WAITING_MAX
        self._of: dict[Any, Pool] = {}
        """Of the connections that are in use, the pool that each came from."""
        self.wakes: Wakes | None = None
        """Wakes the relay when something was committed for it."""

    async def close(self) -> None:
        """Closes the connections that nobody uses; the others, when they are given back. It can be used again."""
        pool, self._pool = self._pool, self._new_pool()
        await pool.close()

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

    async def copy(self, body: str, *parameters: UUID | datetime | int, tenant: UUID) -> Copied:
        """As `read`, but returns the output of a binary COPY: cheaper than `records` for many rows, and dearer for few."""
        query = tenancy.with_literals(tenancy.one_statement(body), (tenant, *parameters))
        async with self._copies.places:
            return await self._using(lambda connection: self._copies.copied(connection, query))

    async def look(self, sql: str, parameters: Parameters | None = None) -> Rows:
        """Runs one statement that only reads, outside of any transaction, in one round trip; for roles that cross tenants.

        Its parameters are named. Of tenants' tables the application's role sees nothing here. Raises as `transaction`.
        """
        statement, names = compiled(sql)
        return Rows(await self._fetch(statement, arguments(names, parameters)))

    async def _fetch(self, statement: str, values: Sequence[Any]) -> list[Any]:
        return await self._using(lambda connection: connection.fetch(statement, *values))

    async def _using(self, use: Callable[[Any], Awaitable[Result]]) -> Result:
        """Runs one statement on a connection, outside of any transaction."""
        assert_idle()
        token = held.set("a connection")
        connection, broken, settle = None, True, ""
        try:
            connection = await self.acquire()
            rows = await (use(connection) if self._prepared else _in_one_transaction(connection, use))
            broken = False
        except asyncio.CancelledError:
            broken, settle = False, "SELECT 1" if self._prepared else "ROLLBACK"
            raise
        except Exception as error:  # noqa: BLE001  # what it is to a caller is raised in its place
            raise told(error, connection) from None
        else:
            return rows
        finally:
            if connection is not None:
                self.release(connection, broken=broken, settle=settle)
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
            connection = await self._pool.acquire()
        except Exception as error:  # noqa: BLE001  # what it is to a caller is raised in its place
            self._inside -= 1
            raise told(error, None) from None
        except BaseException:
            self._inside -= 1
            raise
        self._of[connection] = self._pool
        return connection

    def release(self, connection: Any, *, broken: bool = False, settle: str = "") -> None:
        """Gives a connection back, as `Pool.release` says."""
        self._inside -= 1
        self._of.pop(connection).release(connection, broken=broken, settle=settle)

    def _new_pool(self) -> Pool:
        return Pool(self._endpoint, self._size, prepared=self._prepared)

    def committed(self) -> None:
        """Wakes the relay."""
        if self.wakes is not None:
            self.wakes.tell(News.OUTBOX)


async def _in_one_transaction(connection: Any, use: Callable[[Any], Awaitable[Result]]) -> Result:
    """What is prepared and then run must meet the same session: a pooler keeps it for a transaction."""
    await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY")
    rows = await use(connection)
    await connection.execute("COMMIT")
    return rows
