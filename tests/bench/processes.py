"""The CPU time of a PostgreSQL server on this machine: of all its processes, those that have ended too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import psutil

POLL_SECONDS = 0.005
GONE_SECONDS = 5


@dataclass
class Spent:
    """What a piece of work took of the server."""

    seconds: float = 0.0


class Processes:
    """Of one server."""

    def __init__(self, postmaster: psutil.Process) -> None:
        self._postmaster = postmaster

    @classmethod
    async def of(cls, url: str) -> "Processes":
        """Of the server that a database is on."""
        connection = await asyncpg.connect(url)
        try:
            return cls(psutil.Process(psutil.Process(connection.get_server_pid()).ppid()))
        finally:
            await connection.close()

    @asynccontextmanager
    async def spent(self) -> AsyncIterator[Spent]:
        """Measures what is done inside; connections that are opened there are closed there."""
        spent = Spent()
        before, begun = self._children(), self._seconds()
        yield spent
        await self._gone(before)
        spent.seconds = self._seconds() - begun

    async def _gone(self, before: set[int]) -> None:
        """Returns once the postmaster has the time of those that ended in its own account."""
        async with asyncio.timeout(GONE_SECONDS):
            while any(self._serves(pid) for pid in self._children() - before):
                await asyncio.sleep(POLL_SECONDS)

    def _serves(self, pid: int) -> bool:
        """Whether it is there, and not one of the server's own; one that ends has no name any more."""
        try:
            return "autovacuum" not in " ".join(psutil.Process(pid).cmdline())
        except psutil.NoSuchProcess:
            return False

    def _children(self) -> set[int]:
        return {child.pid for child in self._postmaster.children()}

    def _seconds(self) -> float:
        """Read again where a process ended meanwhile: its time moves to the postmaster's account, and is to count once."""
        while True:
            children, own = self._children(), self._postmaster.cpu_times()
            try:
                live = [psutil.Process(pid).cpu_times() for pid in children]
            except psutil.NoSuchProcess:
                continue
            if children <= self._children():
                seconds = own.children_user + own.children_system + sum(times.user + times.system for times in (own, *live))
                return float(seconds)
