"""A fake server, and both clients."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.unit.client.drivers import Aio, Driver, Sync
from tests.unit.client.fakes import Fake


@pytest.fixture
def fake() -> Iterator[Fake]:
    """A server of the test's own."""
    with Fake() as server:
        yield server


@pytest.fixture(params=[Sync, Aio], ids=["sync", "aio"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Driver]:
    """The sync client, and the one of asyncio."""
    driver: Driver = request.param()
    yield driver
    await driver.close()
