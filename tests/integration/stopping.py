"""Work that is stopped at its n-th await: cancelled as asyncio does it, dropped, or cut off from the database."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Generator, Iterable
from enum import Enum
from typing import Any

import asyncpg

ENDED = object()


class Way(Enum):
    """How work is stopped."""

    CANCELLED = "cancelled"
    """Its task is cancelled; what it waits for is cancelled first, and then it is told."""
    DROPPED = "dropped"
    """Its coroutine is closed, and can await nothing more."""
    CUT_OFF = "cut off"
    """Its connections are closed under it, and it goes on."""


class Stopped:
    """Awaits work in the caller's task, and stops it at its n-th suspension. Gives whether it came so far.

    Raises what the work raises, but for CancelledError where that is how it was stopped.
    """

    def __init__(self, work: Coroutine[Any, Any, None], at: int, way: Way, connections: Iterable[asyncpg.Connection]) -> None:
        """`connections` are those that the work has taken, when it is stopped."""
        self._work, self._at, self._way, self._connections = work, at, way, connections

    def __await__(self) -> Generator[Any, None, bool]:
        waits = self._step(lambda: self._work.send(None))
        for number in itertools.count(1):
            if waits is ENDED:
                return number > self._at
            if number == self._at and self._stopped():
                return True
            try:
                yield waits
            except BaseException as error:  # noqa: BLE001  # the work's to deal with
                waits = self._step(lambda error=error: self._work.throw(error))  # type: ignore[misc]  # bound here
            else:
                waits = self._step(lambda: self._work.send(None))
        raise AssertionError("there is no end of numbers")

    def _stopped(self) -> bool:
        """Stops the work; whether that is its end, and not only the beginning of it."""
        if self._way is Way.DROPPED:
            self._work.close()
            return True
        if self._way is Way.CANCELLED:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()  # when `waits` is yielded, the task cancels it
            return False
        for connection in self._connections:
            connection._transport.abort()  # as if the peer had gone: the connection learns of it a moment later
        return False

    def _step(self, go_on: Callable[[], Any]) -> Any:
        try:
            return go_on()
        except StopIteration:
            return ENDED


async def stopped(work: Coroutine[Any, Any, None], at: int, way: Way, connections: Iterable[asyncpg.Connection]) -> bool:
    """Runs work in a task of its own, and stops it at its n-th suspension; whether it came so far. Raises what the work raises."""

    async def run() -> bool:
        return await Stopped(work, at, way, connections)

    try:
        return await asyncio.create_task(run())
    except asyncio.CancelledError:
        assert way is Way.CANCELLED
        return True
