"""Where the processes run that the tests call: the embedded stack, or the containers."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from compose.stack import Composed, engine
from local import admin
from local.stack import Stack

SECONDS = 60.0


class Deployment(Protocol):
    """A stack that runs."""

    @property
    def described(self) -> Path:
        """Its `stack.json`."""

    def describe(self) -> Mapping[str, str]:
        """Logs the administrator in, and says all that clients need; writes it to `described`."""

    async def kill(self, service: str) -> None:
        """Kills every process of a service, and returns when others run in their place."""


@dataclass(frozen=True)
class Embedded:
    """Processes of this machine, one of each."""

    stack: Stack

    @property
    def described(self) -> Path:
        return self.stack.folder / "stack.json"

    def describe(self) -> Mapping[str, str]:
        return admin.describe(self.stack)

    async def kill(self, service: str) -> None:
        """Returns when the supervisor has started another."""
        pid = self.stack.supervisor.status_of(service).pid
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: self.stack.supervisor.status_of(service).pid not in {0, pid})


@dataclass(frozen=True)
class Containers:
    """Two replicas of each service, behind Envoy."""

    stack: Composed

    @property
    def described(self) -> Path:
        return self.stack.folder / "stack.json"

    def describe(self) -> Mapping[str, str]:
        return self.stack.describe()

    async def kill(self, service: str) -> None:
        """Starts them again itself: what an engine is told to kill it does not restart."""
        containers = await asyncio.to_thread(self.stack.containers, service)
        await asyncio.to_thread(engine, "kill", *containers)
        await asyncio.to_thread(engine, "start", *containers)


async def eventually(condition: Callable[[], object]) -> None:
    """Returns when the condition holds; fails after a minute."""
    async with asyncio.timeout(SECONDS):
        while True:
            held = condition()
            if await held if asyncio.iscoroutine(held) else held:
                return
            await asyncio.sleep(0.02)
