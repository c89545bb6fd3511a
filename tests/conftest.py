"""A Postgres for the whole run: a private one, or the one that TEPPAN_DATABASE_URL names. Never a fake."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from uuid import uuid4

import pytest

from local.database import Server
from local.postgres import throwaway

pytest_plugins = ("tests.deployed", "tests.encoders")

TOLD = "told"
TEMPLATE = f"teppan_template_{os.getpid()}"


@pytest.fixture(scope="session")
def pg() -> str:
    """The major version of PostgreSQL that is tested on."""
    return os.environ.get("PG", "18")


@pytest.fixture(scope="session")
def server(pg: str) -> Iterator[Server]:
    """A server of this run."""
    if url := os.environ.get("TEPPAN_DATABASE_URL"):
        yield Server(admin_url=url)
        return
    with throwaway(pg) as postgres:
        yield Server(admin_url=postgres.url())


@pytest.fixture(scope="session")
def template(server: Server) -> Iterator[str]:
    """A database with all schemas as the migrations make them; tests get copies."""

    async def make() -> None:
        await server.prepare(TEMPLATE)
        await server.migrate(TEMPLATE)

    asyncio.run(make())
    yield TEMPLATE
    asyncio.run(server.drop(TEMPLATE))


@pytest.fixture
async def database(server: Server, template: str) -> AsyncIterator[str]:
    """A database of the test's own."""
    name = new_database()
    await server.create(name, template)
    yield name
    await server.drop(name)


def new_database() -> str:
    """A name that nobody has."""
    return f"teppan_test_{uuid4().hex}"


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says a figure, passed or not: those of all tests stand at the end of the run."""
    return partial(record_property, TOLD)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was told, by whichever process ran the test."""
    reports = [report for found in terminalreporter.stats.values() for report in found if isinstance(report, pytest.TestReport)]
    told = [str(value) for report in reports if report.when == "call" for name, value in report.user_properties if name == TOLD]
    if told:
        terminalreporter.section("figures")
        for line in told:
            terminalreporter.line(line)
