"""What is done to the services of a stack: killed at once, or frozen for a while; the supervisor starts again what ends."""

import asyncio
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from local.stack import Stack
from tests.deployed import eventually


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How often, and how badly. Times are in seconds."""

    apart_max: float
    paused_max: float
    long: float
    """A pause that outlasts locks and silences."""
    long_share: float


class Breaks(Protocol):
    """Breaks something of a stack, again and again."""

    @property
    def service(self) -> str:
        """The name of what it breaks."""

    @property
    def done(self) -> Counter[str]:
        """How often, by what it did."""

    async def strike(self) -> None:
        """Waits a moment, breaks it, and returns when it runs again."""


@dataclass(kw_only=True)
class Breaking:
    """Breaks one service's process."""

    stack: Stack
    service: str
    chance: random.Random
    rhythm: Rhythm
    done: Counter[str] = field(default_factory=Counter)

    async def strike(self) -> None:
        """Waits a moment, and kills or pauses. Returns when the process runs again: one that dies young twice is given up."""
        await asyncio.sleep(self.chance.uniform(0, self.rhythm.apart_max))
        if self.chance.random() < 0.5:
            await self._kill()
        else:
            long = self.chance.random() < self.rhythm.long_share
            await self._pause(self.rhythm.long if long else self.chance.uniform(0, self.rhythm.paused_max))

    async def _kill(self) -> None:
        pid = pid_of(self.stack, self.service)
        os.kill(pid, signal.SIGKILL)
        self.done["killed"] += 1
        await replaced(self.stack, self.service, pid)

    async def _pause(self, seconds: float) -> None:
        pid = pid_of(self.stack, self.service)
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.done["paused long" if seconds == self.rhythm.long else "paused"] += 1


def pid_of(stack: Stack, name: str) -> int:
    """Returns the process ID of a program of the stack, which runs."""
    pid = stack.supervisor.status_of(name).pid
    assert pid, f"{name} does not run"  # a signal to 0 would be one to this process
    return pid


async def replaced(stack: Stack, name: str, pid: int) -> None:
    """Returns when another process than `pid` has run for a second."""

    def runs() -> bool:
        status = stack.supervisor.status_of(name)
        return status.state == "RUNNING" and status.pid != pid

    await eventually(runs)
