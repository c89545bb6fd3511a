"""What is done to Postgres: a backend is killed, sessions are terminated, the server crashes, or is restarted by its operator."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import asyncpg

from local.stack import Stack
from tests.deployed import eventually
from tests.faults.breaking import pid_of, replaced

POSTGRES = "postgres"
OF_SERVICES = "FROM pg_stat_activity WHERE datname = current_database() AND usename ~ '_(app|platform)$'"
GONE = (
    OSError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError, asyncpg.InternalClientError,
)  # fmt: skip
"""What a client is told by a server that ends, is not there, or does not take connections yet."""


@dataclass(kw_only=True)
class Crashing:
    """Breaks the stack's Postgres, in one way after the other."""

    stack: Stack
    chance: random.Random
    apart_max: float
    """Seconds from one time to the next, at most."""
    service: str = POSTGRES
    done: Counter[str] = field(default_factory=Counter)
    _left: list[str] = field(default_factory=list)

    async def strike(self) -> None:
        """Waits a moment, and breaks it. Returns when it takes connections again."""
        await asyncio.sleep(self.chance.uniform(0, self.apart_max))
        if not self._left:  # each way once, before any comes again
            self._left = self.chance.sample(sorted(self._ways), len(self._ways))
        way = self._left.pop()
        await self._ways[way]()
        self.done[way] += 1
        await eventually(self._ready)

    @property
    def _ways(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        return {
            "backend killed": self._kill_backend,
            "crashed": lambda: self._signal(signal.SIGQUIT),
            "killed": lambda: self._signal(signal.SIGKILL),
            "restarted": self._restart,
            "sessions terminated": self._terminate,
        }

    async def _kill_backend(self) -> None:
        """As the kernel does that is out of memory: the postmaster ends all others, and recovers."""
        connection = await self._connect()
        pid = await connection.fetchval(f"SELECT pid {OF_SERVICES} ORDER BY state = 'active' DESC, random() LIMIT 1")
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            await eventually(connection.is_closed)
        connection.terminate()

    async def _terminate(self) -> None:
        """As an operator does, or a pooler that fails over."""
        connection = await self._connect()
        await connection.execute(f"SELECT pg_terminate_backend(pid) {OF_SERVICES}")
        await connection.close()

    async def _signal(self, number: signal.Signals) -> None:
        """Ends the server without a checkpoint; the supervisor starts it again, and it recovers."""
        pid = pid_of(self.stack, POSTGRES)
        os.kill(pid, number)
        await replaced(self.stack, POSTGRES, pid)

    async def _restart(self) -> None:
        """A fast shutdown, and a start."""
        pid = pid_of(self.stack, POSTGRES)
        await asyncio.to_thread(self.stack.supervisor.halt, POSTGRES)
        await asyncio.to_thread(self.stack.supervisor.run, POSTGRES)
        await replaced(self.stack, POSTGRES, pid)

    async def _ready(self) -> bool:
        try:
            connection = await self._connect()
        except GONE:
            return False
        await connection.close()
        return True

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.stack.server.url(self.stack.database))
