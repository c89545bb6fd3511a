"""The processes as `make up` runs them: Postgres and three services, supervised, on ports of their own."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
from demo import scene
from demo.calls import Backend
from demo.scene import Scene

from local import admin, stack
from local.database import SERVICES
from local.postgres import data_folder
from local.stack import Stack

ANY_PORTS = dict.fromkeys(SERVICES, stack.ANY_PORT)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, pg: str) -> Iterator[Stack]:
    """A stack that runs."""
    fresh = stack.fresh(tmp_path_factory.mktemp("stack"), version=pg, ports=ANY_PORTS, metrics=ANY_PORTS)
    try:
        stack.start(fresh, tied=True)
        yield fresh
    finally:
        stack.stop(fresh)
        shutil.rmtree(data_folder(fresh.folder / "data"), ignore_errors=True)


@pytest.fixture(scope="session")
async def backend(running: Stack) -> AsyncIterator[Backend]:
    """Another backend, which calls the stack."""
    async with Backend({service: running.address(service) for service in SERVICES}) as made:
        yield made


@pytest.fixture(scope="session")
async def cast(running: Stack, backend: Backend) -> Scene:
    """Stations, members, customers."""
    known = await asyncio.to_thread(admin.describe, running)
    return await scene.build(backend, known["token"])
