"""Checks, at the start of a service, that a pooler before PostgreSQL keeps prepared statements and the settings of sessions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from dbcommon.connections import told
from dbcommon.election import ELECTED, SILENT_SECONDS
from dbcommon.urls import endpoint

STATEMENT = "teppan_start"
ANSWER_SECONDS = 20.0
"""A pooler may let a connection wait for a session, without a word."""


async def keeps_statements(url: str) -> bool:
    """Returns whether each connection has the statements that it prepared, and no other's. Raises DatabaseUnavailable.

    A pooler that shares sessions gives the second connection the session that the first one has just used, where the name is taken.
    While others use the same pool the second may get another session, and then this returns True. A pooler that follows statements
    keeps the names of connections apart.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS), _connected(url) as first, _connected(url) as second:
            for connection in (first, second):
                statement = await connection.prepare("SELECT 1", name=STATEMENT)
                await statement.fetch()  # until then the session is not given to others
    except (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError):
        return False
    except Exception as error:  # noqa: BLE001  # what it is to a caller is raised in its place
        raise told(error, None) from None
    return True


async def keeps_settings(url: str) -> bool:
    """Returns whether a session has the settings that an election opens it with. Raises DatabaseUnavailable.

    PgBouncer refuses them, or leaves them out where its `ignore_startup_parameters` says so.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS), _connected(url, **ELECTED) as connection:
            found = await connection.fetchval("SELECT setting FROM pg_settings WHERE name = 'idle_session_timeout'")
    except asyncpg.ProtocolViolationError:
        return False
    except Exception as error:  # noqa: BLE001  # what it is to a caller is raised in its place
        raise told(error, None) from None
    return bool(found == f"{SILENT_SECONDS * 1000}")


@asynccontextmanager
async def _connected(url: str, **session: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(**endpoint(url).arguments(**session))
    try:
        yield connection
    finally:
        connection.terminate()
