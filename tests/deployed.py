"""The stack that tests call from outside, as people run it.

Embedded (`make up`), or with TEPPAN_STACK=compose in containers (`make test-compose`).
"""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest
from demo import scene
from demo.calls import Backend
from demo.scene import Scene
from teppan.client import aio

from compose.stack import Composed, engine
from local import admin, stack
from local.database import SERVICES
from local.ports import ANY_PORT, free_ports
from local.postgres import data_folder
from local.stack import Stack
from rpccommon.auth import ServiceToken
from tests.tokens import service_token

SECONDS = 60.0
ANY_PORTS = dict.fromkeys(SERVICES, ANY_PORT)
IN_CONTAINERS = os.environ.get("TEPPAN_STACK") == "compose"


class Deployment(Protocol):
    """A stack that runs."""

    @property
    def described(self) -> Path:
        """Its `stack.json`."""

    def describe(self) -> Mapping[str, str]:
        """Logs the administrator in, and says all that clients need; writes it to `described`."""

    def service_token(self, service: str) -> ServiceToken:
        """By which one of its services is known to the others."""

    async def kill(self, service: str) -> None:
        """Kills every process of a service, and returns when others serve in their place."""

    async def restart(self, service: str) -> None:
        """Restarts every process of a service, one after the other, as an operator would; returns when all serve."""


@dataclass(frozen=True)
class Embedded:
    """Processes of this machine, one of each."""

    stack: Stack

    @property
    def described(self) -> Path:
        return self.stack.folder / "stack.json"

    def describe(self) -> Mapping[str, str]:
        return admin.describe(self.stack)

    def service_token(self, service: str) -> ServiceToken:
        return service_token(service, self.stack.folder / "secrets")

    async def kill(self, service: str) -> None:
        """The supervisor starts another."""
        await eventually(lambda: self.stack.supervisor.status_of(service).pid)  # 0 would be our own group
        pid = self.stack.supervisor.status_of(service).pid
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: self.stack.supervisor.status_of(service).pid not in {0, pid})
        await stack.serving(self.stack)

    async def restart(self, service: str) -> None:
        await asyncio.to_thread(self.stack.supervisor.halt, service)
        await asyncio.to_thread(self.stack.supervisor.run, service)
        await stack.serving(self.stack)


@dataclass(frozen=True)
class Containers:
    """Two replicas of each service, behind Envoy."""

    stack: Composed

    @property
    def described(self) -> Path:
        return self.stack.folder / "stack.json"

    def describe(self) -> Mapping[str, str]:
        return self.stack.describe()

    def service_token(self, service: str) -> ServiceToken:
        return service_token(service, self.stack.secrets / "keys")

    async def kill(self, service: str) -> None:
        """Starts them again itself: what an engine is told to kill it does not restart."""
        containers = await asyncio.to_thread(self.stack.containers, service)
        await asyncio.to_thread(engine, "kill", *containers)
        await asyncio.to_thread(engine, "start", *containers)
        await self._healthy(containers)

    async def restart(self, service: str) -> None:
        for container in await asyncio.to_thread(self.stack.containers, service):
            await asyncio.to_thread(engine, "restart", "--time=30", container)
            await self._healthy([container])

    async def _healthy(self, containers: Sequence[str]) -> None:
        for container in containers:
            await eventually(lambda container=container: asyncio.to_thread(healthy, container))  # type: ignore[misc]  # bound here


def healthy(container: str) -> bool:
    """Whether the engine says so."""
    return engine("inspect", "--format={{.State.Health.Status}}", container).strip() == "healthy"


async def eventually(condition: Callable[[], object]) -> None:
    """Returns when the condition holds; fails after a minute."""
    async with asyncio.timeout(SECONDS):
        while True:
            held = condition()
            if await held if asyncio.iscoroutine(held) else held:
                return
            await asyncio.sleep(0.02)


# Fixtures ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory, pg: str) -> Iterator[Stack]:
    """Postgres and three services, supervised, on ports of their own."""
    fresh = stack.fresh(tmp_path_factory.mktemp("stack"), version=pg, ports=ANY_PORTS)
    try:
        stack.start(fresh, tied=True)
        yield fresh
    finally:
        stack.stop(fresh)
        shutil.rmtree(data_folder(fresh.folder / "data"), ignore_errors=True)


@pytest.fixture(scope="session")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """The containers, in a project and on ports of their own; nothing of them stays."""
    published = (*SERVICES, "prometheus")
    ports = dict(zip(published, free_ports(len(published)), strict=True))
    fresh = Composed(folder=tmp_path_factory.mktemp("compose"), project=f"teppan-test-{os.getpid()}", ports=ports, version="test")
    try:
        fresh.up(show=False)
        yield fresh
    finally:
        fresh.down(data=True, show=False)


@pytest.fixture(scope="session")
def running(request: pytest.FixtureRequest) -> Deployment:
    """The one of the two that is tested."""
    if IN_CONTAINERS:
        return Containers(request.getfixturevalue("composed"))
    return Embedded(request.getfixturevalue("embedded"))


@pytest.fixture(scope="session")
def known(running: Deployment) -> Mapping[str, str]:
    """What clients are told: addresses, the administrator's token, and by what to believe servers."""
    return running.describe()


@pytest.fixture(scope="session")
async def backend(known: Mapping[str, str]) -> AsyncIterator[Backend]:
    """Another backend, which calls the stack."""
    tls = aio.Tls.from_files(ca=known["ca"]) if "ca" in known else None
    async with Backend({service: known[service] for service in SERVICES}, tls) as made:
        yield made


@pytest.fixture(scope="session")
async def stage(known: Mapping[str, str], backend: Backend) -> Scene:
    """Stations, members, customers."""
    return await scene.build(backend, known["token"])


@pytest.fixture
async def cast(running: Deployment, stage: Scene) -> Scene:
    """The same, with an administrator who has just logged in: all tests together may take longer than a token lives."""
    return replace(stage, admin=(await asyncio.to_thread(running.describe))["token"])
