"""A stack that runs, as people run it: embedded (`make up`), or with TEPPAN_STACK=compose in containers (`make test-compose`)."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
from demo import scene
from demo.calls import Backend
from demo.scene import Scene

from compose.stack import Composed
from local import stack
from local.database import SERVICES
from local.postgres import data_folder
from local.stack import Stack
from tests.e2e.deployment import Containers, Deployment, Embedded

ANY_PORTS = dict.fromkeys(SERVICES, stack.ANY_PORT)
IN_CONTAINERS = os.environ.get("TEPPAN_STACK") == "compose"
collect_ignore = ["test_embedded.py"] if IN_CONTAINERS else []


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory, pg: str) -> Iterator[Stack]:
    """Postgres and three services, supervised, on ports of their own."""
    fresh = stack.fresh(tmp_path_factory.mktemp("stack"), version=pg, ports=ANY_PORTS, metrics=ANY_PORTS)
    try:
        stack.start(fresh, tied=True)
        yield fresh
    finally:
        stack.stop(fresh)
        shutil.rmtree(data_folder(fresh.folder / "data"), ignore_errors=True)


@pytest.fixture(scope="session")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """The containers, in a project and on ports of their own; nothing of them stays."""
    ports = dict(zip(SERVICES, stack.free_ports(len(SERVICES)), strict=True))
    fresh = Composed(folder=tmp_path_factory.mktemp("compose"), project=f"teppan-test-{os.getpid()}", ports=ports)
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
    ca = await asyncio.to_thread(Path(known["ca"]).read_bytes) if "ca" in known else None
    async with Backend({service: known[service] for service in SERVICES}, ca) as made:
        yield made


@pytest.fixture(scope="session")
async def cast(known: Mapping[str, str], backend: Backend) -> Scene:
    """Stations, members, customers."""
    return await scene.build(backend, known["token"])
