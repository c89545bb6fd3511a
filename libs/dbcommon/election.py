"""One process at a time works for a schema: who holds an advisory lock, on a connection of its own, leads."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

from dbcommon.urls import endpoint

ANSWER_SECONDS = 5
RETRY_SECONDS = 1.0
BEAT_SECONDS = 2.0
SILENT_SECONDS = 5
"""After so long without a beat the server ends the connection: a process that froze, or whose machine is gone without a word, leads no
more. Nothing else would notice: to Postgres a leader is an idle session, and TCP looks for dead ones every two hours."""
ELECTED = {"idle_session_timeout": f"{SILENT_SECONDS}s"}
"""The settings of the session that holds an election."""


async def lead(url: str, name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Waits until this process is elected, then works until `work` ends or the connection that holds the election breaks.

    Raises what `work` raises; where the election was lost, what asyncpg does, or TimeoutError. The caller calls again. Who freezes,
    and goes on later, works for up to a beat beside the next one: what must not happen twice is fenced in the database, and not by this.
    """
    connection = await asyncpg.connect(**endpoint(url).arguments(**ELECTED))
    try:
        while not await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", name):
            await asyncio.sleep(RETRY_SECONDS)
        worker = asyncio.ensure_future(work())
        try:
            while not worker.done():
                await connection.fetchval("SELECT 1", timeout=ANSWER_SECONDS)  # fails where the lock is gone
                await asyncio.wait({worker}, timeout=BEAT_SECONDS)
        finally:
            worker.cancel()
            await asyncio.wait({worker})  # and not `await worker`: that would hide a cancellation of this task
        worker.result()
    finally:
        connection.terminate()  # the lock goes with it, also where the server no longer answers
