"""What runs with injected faults sees."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from local.stack import Stack


@pytest.fixture
async def rows(embedded: Stack) -> AsyncIterator[asyncpg.Connection]:
    """Sees everything, in every schema."""
    connection = await asyncpg.connect(embedded.server.url(embedded.database))
    yield connection
    await connection.close()
