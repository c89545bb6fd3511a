"""A transaction: its settings travel with BEGIN in one message, and nothing outlives it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import Token
from types import TracebackType
from typing import Any, Protocol, Self

from dbcommon.connections import CLOSE_SECONDS, assert_idle, held, told
from dbcommon.statements import Rows, arguments, compiled

Parameters = Mapping[str, Any]


class Connections(Protocol):
    """A pool of connections, as a transaction sees it."""

    async def acquire(self) -> Any:
        """Takes a connection. Raises faults."""

    def release(self, connection: Any, *, broken: bool = False, settle: str = "") -> None:
        """Gives it back, once `settle` has run where it is a statement."""

    def committed(self) -> None:
        """Something for the feed was committed."""


class Transaction:
    """A transaction at READ COMMITTED, as `Database.transaction` begins it; commits when its block ends, or rolls back."""

    __slots__ = ("_begin", "_connection", "_connections", "_token", "announces")

    def __init__(self, connections: Connections, begin: str) -> None:
        """`begin` is BEGIN with everything that holds for this transaction."""
        self._connections = connections
        self._begin = begin
        self._connection: Any = None
        self._token: Token[str] | None = None
        self.announces = False
        """Whether something in it is for the feed: then the relay is woken after the commit."""

    async def execute(self, sql: str, parameters: Parameters | None = None) -> Rows:
        """Runs a statement, whose parameters are named (`:id`). Raises faults, and asyncpg's IntegrityConstraintViolationError."""
        statement, names = compiled(sql)
        connection = self._connection
        try:
            return Rows(await connection.fetch(statement, *arguments(names, parameters)))
        except Exception as error:  # noqa: BLE001  # what it is to a caller is raised in its place
            raise told(error, connection) from None

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
            raise told(error, connection) from None
        return int(status.rpartition(" ")[2])

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What is inside is undone as a whole where it raises, and the transaction goes on."""
        await self._say("SAVEPOINT inside")
        try:
            yield
        except BaseException as error:
            if isinstance(error, Exception) and not self._connection.is_closed():
                await self._say("ROLLBACK TO SAVEPOINT inside; RELEASE SAVEPOINT inside")
            raise
        await self._say("RELEASE SAVEPOINT inside")

    async def __aenter__(self) -> Self:
        assert_idle()
        self._token = held.set("a transaction")
        try:
            self._connection = await self._connections.acquire()
            await self._say(self._begin)
        except BaseException:
            self._let_go(broken=True)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        broken, settle = True, ""
        try:
            if error is None:
                await self._say("COMMIT")
                if self.announces:
                    self._connections.committed()
                broken = False
            elif isinstance(error, asyncio.CancelledError):
                broken, settle = False, "ROLLBACK"
            elif isinstance(error, Exception) and not self._connection.is_closed():
                await self._connection.execute("ROLLBACK", timeout=CLOSE_SECONDS)
                broken = False
        except Exception:
            if error is None:
                raise  # else what happened first is what counts: the connection is closed, and that rolls back
        finally:
            self._let_go(broken=broken, settle=settle)

    async def _say(self, command: str) -> None:
        try:
            await self._connection.execute(command)
        except Exception as error:  # noqa: BLE001  # what it is to a caller is raised in its place
            raise told(error, self._connection) from None

    def _let_go(self, *, broken: bool, settle: str = "") -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._connections.release(connection, broken=broken, settle=settle)
        if self._token is not None:
            held.reset(self._token)
            self._token = None


async def durably(tx: Transaction) -> None:
    """Lets the commit wait for the disk, and for a synchronous standby where there is one, whatever the server's default."""
    await tx.execute(
        "SELECT set_config('synchronous_commit', 'on', true)"
        " WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')"
    )
