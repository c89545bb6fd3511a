"""The stage: all three services, shared by the tests of a run; each test makes stations of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local.database import Server
from tests.conftest import new_database
from tests.integration.stage import Teppan, teppan_on


@pytest.fixture(scope="session")
async def teppan(server: Server, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Teppan]:
    """Three running services. A test that stops one uses `own` instead."""
    name = new_database()
    await server.create(name, template)
    async with teppan_on(server, name, tmp_path_factory.mktemp("secrets")) as stage:
        yield stage
    await server.drop(name)


@pytest.fixture
async def own(server: Server, database: str, tmp_path: Path) -> AsyncIterator[Teppan]:
    """Three running services of the test's own, to be stopped and started."""
    async with teppan_on(server, database, tmp_path / "secrets") as stage:
        yield stage
