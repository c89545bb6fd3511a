"""What is said of one connection: whether this task holds one, whether it is closed, and what its failures are to a caller."""

import asyncio
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any

import asyncpg

from dbcommon.failures import fault_of, without_values
from faults import DatabaseUnavailable

CLOSE_SECONDS = 0.25
"""How long a cancelled call waits for the server to cancel its statement; a connection for which that takes longer is closed."""
COPY_SECONDS = 0.1
"""The same for a COPY, which is not cancelled: it reads about a MiB."""

held: ContextVar[str] = ContextVar("held", default="")


def assert_idle() -> None:
    """Fails where this task holds a connection: before an RPC goes out, before a client is made to wait."""
    if what := held.get():
        raise AssertionError(f"this task still holds {what}; end it first")


def told(error: Exception, connection: Any) -> Exception:
    """What is raised in place of an error: the fault that it is to a caller, or itself without what was sent."""
    if isinstance(error, asyncpg.InterfaceError) and (connection is None or connection.is_closed()):
        return DatabaseUnavailable("the connection to the database broke; nobody knows what was committed")
    return fault_of(error) or without_values(error)


async def to_its_end(connection: Any, copying: Awaitable[Any]) -> None:
    """Runs a COPY; who is cancelled meanwhile waits for its end, and where that does not come soon, the connection is closed.

    asyncpg 0.32 cannot cancel one: the rows that still come find nobody, and its protocol breaks.
    """
    task = asyncio.ensure_future(copying)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=COPY_SECONDS)
        if not task.done():
            connection.terminate()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # it was seen
        raise
