"""What is done to the processes of a stack: killed at once, or frozen for a while; the supervisor starts again what ends."""

import asyncio
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field

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


@dataclass(kw_only=True)
class Breaking:
    """Breaks one service's process, again and again."""

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
        pid = self._pid()
        os.kill(pid, signal.SIGKILL)
        self.done["killed"] += 1

        def runs() -> bool:
            status = self.stack.supervisor.status_of(self.service)
            return status.state == "RUNNING" and status.pid != pid

        await eventually(runs)

    async def _pause(self, seconds: float) -> None:
        pid = self._pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.done["paused long" if seconds == self.rhythm.long else "paused"] += 1

    def _pid(self) -> int:
        pid = self.stack.supervisor.status_of(self.service).pid
        assert pid, f"{self.service} does not run"  # a signal to 0 would be one to this process
        return pid
