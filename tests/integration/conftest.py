"""The stage: all three services, shared by the tests of a run; each test makes stations of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from local.database import Server
from local.postgres import throwaway
from tests.conftest import new_database
from tests.integration.moving import Moving, moving_on
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


@pytest.fixture
async def moving(server: Server, database: str, tmp_path: Path) -> AsyncIterator[Moving]:
    """Three running services of the test's own, whose databases may move."""
    async with moving_on(server, database, tmp_path / "secrets") as made:
        yield made


@pytest.fixture
async def outside(server: Server, database: str) -> AsyncIterator[asyncpg.Connection]:
    """The administrator's connection, beside all pools: it sees and may do everything."""
    connection = await asyncpg.connect(server.url(database))
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
def other(pg: str) -> Iterator[Server]:
    """Another cluster, to restore into."""
    with throwaway(pg) as postgres:
        yield Server(admin_url=postgres.url())
