"""Signals between processes: they arrive, many are one, and who only listens goes on when its connection breaks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from dbcommon import wakes
from dbcommon.wakes import News, Wakes
from local.database import Server
from rpccommon.server import run_workers
from tests.deployed import eventually

SECONDS = 30.0
LONG = 2 * SECONDS
"""A wait that ends sooner was ended by a signal."""
LISTENING = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%events%' AND state = 'idle'"
)  # fmt: skip
"""Who has begun to listen to the last of the channels, and did nothing since."""


@asynccontextmanager
async def process(server: Server, database: str) -> AsyncIterator[Wakes]:
    """The signals of a process."""
    made = Wakes(server.url(database, "bookings_platform"), "bookings")
    task = asyncio.create_task(run_workers(made.run))
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
async def admin(server: Server, database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own."""
    connection = await asyncpg.connect(server.url(database))
    yield connection
    await connection.close()


async def listening(admin: asyncpg.Connection) -> list[int]:
    """As LISTENING says."""
    return [row["pid"] for row in await admin.fetch(LISTENING)]


async def test_what_one_process_tells_ends_the_wait_of_another(server: Server, database: str, admin: asyncpg.Connection) -> None:
    async def both() -> bool:
        return len(await listening(admin)) == 2

    async with process(server, database) as one, process(server, database) as other, asyncio.timeout(SECONDS):
        await eventually(both)
        one.tell(News.OUTBOX)
        await other.wait(News.OUTBOX, LONG)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await other.wait(News.EVENTS, LONG)


async def test_what_is_told_at_once_is_one_signal(
    server: Server, database: str, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakes, "DEBOUNCE_SECONDS", 0.5)
    heard: list[Any] = []
    await admin.add_listener("teppan_bookings_outbox", lambda *what: heard.append(what))
    async with process(server, database) as made:
        await eventually(lambda: listening(admin))
        for _ in range(100):
            made.tell(News.OUTBOX)
            await asyncio.sleep(0)
        await eventually(lambda: heard)
        made.tell(News.OUTBOX)
        await eventually(lambda: len(heard) > 1)
    assert len(heard) == 2


async def test_who_only_listens_notices_that_its_connection_broke(
    server: Server, database: str, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakes, "BEAT_SECONDS", 0.05)
    async with process(server, database) as one, asyncio.timeout(SECONDS):
        await eventually(lambda: listening(admin))
        [before] = await listening(admin)
        await admin.execute("SELECT pg_terminate_backend($1)", before)

        async def anew() -> bool:
            return any(pid != before for pid in await listening(admin))

        await eventually(anew)
        await admin.execute("NOTIFY teppan_bookings_events")
        await one.wait(News.EVENTS, LONG)
