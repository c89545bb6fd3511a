"""Work that is killed at its first await, at its second, and so on until it ends."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import asyncpg

from dbcommon.database import Database
from tests.integration.aside import Killed
from tests.integration.watched import connections_of

AWAITS_MAX = 1_000


async def killed_everywhere(
    platform: Database, outside: asyncpg.Connection, work: Callable[[], Coroutine[Any, Any, Any]]
) -> AsyncIterator[None]:
    """Kills the work and its connections at each await; gives way to who takes over, each time, and once after it ended.

    `platform` is the database that the work uses, as the role `bookings_platform`.
    """
    connections = connections_of(platform)

    def kill() -> None:
        for connection in connections:
            connection.terminate()

    await platform.close()  # those that nobody noted
    for at in range(1, AWAITS_MAX):
        killed = await Killed(work(), at, kill)
        await platform.close()  # who takes over has connections of its own
        gone = (
            "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'bookings_platform' AND datname = current_database())"
        )
        while not await outside.fetchval(gone):  # what was on its way is done, or is not
            await asyncio.sleep(0.001)
        yield
        connections.clear()
        await platform.close()
        if not killed:
            assert at > 10, "so few awaits: it was not killed where it matters"
            return
    raise AssertionError("it never ends")
