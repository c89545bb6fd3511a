"""The connections of one role to one database: so many at most, the one that was used last first.

Not asyncpg's pool: that one puts a task, a timeout and a proxy around each use (9% of what a read of one row costs a server here), and
loses a place where a coroutine is dropped while it connects.
"""

import asyncio
from collections import deque
from typing import Any

import asyncpg

from dbcommon.connections import CLOSE_SECONDS
from dbcommon.statements import Row
from dbcommon.urls import Endpoint
from faults import DatabaseUnavailable

WAIT_SECONDS = 10
STATEMENTS_CACHED = 200


class Pool:
    """Connects when somebody needs it. All of it runs in one event loop."""

    def __init__(self, endpoint: Endpoint, size: int, *, prepared: bool) -> None:
        """Without `prepared` connections keep no statements."""
        self._arguments = {
            **endpoint.arguments(), "record_class": Row, "statement_cache_size": STATEMENTS_CACHED if prepared else 0,
        }  # fmt: skip
        self._size = size
        self._open = 0
        """Connections that there are, those that are being made included."""
        self._idle: list[Any] = []
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._settling: set[asyncio.Task[None]] = set()
        self._closing = False

    async def acquire(self) -> Any:
        """Takes a connection, for `release`. Raises what asyncpg does, and DatabaseUnavailable after 10 s without one."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._open -= 1
        if self._open < self._size:
            self._open += 1
            return await self._connect()
        found = await self._wait()
        return await self._connect() if found is None else found

    def release(self, connection: Any, *, broken: bool = False, settle: str = "") -> None:
        """Gives a connection back, and never waits.

        One that is broken is closed. Where `settle` is a statement, it is run first, in the background: after a cancelled one, which the
        server may still have to end. What does not settle soon is closed.
        """
        if broken or self._closing or connection.is_closed():
            connection.terminate()
            self._gone()
        elif settle:
            task = asyncio.get_running_loop().create_task(self._settle(connection, settle))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
        else:
            self._pass_on(connection)

    async def close(self) -> None:
        """Closes what nobody uses; what is in use, when it is given back."""
        self._closing = True
        if self._settling:
            await asyncio.wait(self._settling)
        idle, self._idle = self._idle, []
        await asyncio.gather(*(self._close(connection) for connection in idle))

    async def _connect(self) -> Any:
        """Makes a connection, whose place is counted already."""
        try:
            return await asyncpg.connect(**self._arguments)
        except BaseException:
            self._gone()
            raise

    async def _wait(self) -> Any:
        """Waits for a connection that somebody gives back; None: for a place to make one."""
        waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(WAIT_SECONDS) as bound:
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():  # it was given one in the same moment
                self._gone() if waiter.result() is None else self._pass_on(waiter.result())
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            if isinstance(error, TimeoutError) and bound.expired():
                raise DatabaseUnavailable("all connections to the database are in use") from None
            raise

    def _pass_on(self, connection: Any) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append(connection)

    def _gone(self) -> None:
        """A place is free: who waits longest may make a connection."""
        self._open -= 1
        while self._waiting and not self._closing:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._open += 1
                waiter.set_result(None)
                return

    async def _settle(self, connection: Any, statement: str) -> None:
        try:
            await connection.execute(statement, timeout=CLOSE_SECONDS)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            self.release(connection, broken=True)
        else:
            self.release(connection)

    async def _close(self, connection: Any) -> None:
        self._open -= 1
        try:
            await connection.close(timeout=CLOSE_SECONDS)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            connection.terminate()
