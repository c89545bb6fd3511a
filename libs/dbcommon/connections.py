"""What is said of one connection: whether this task holds one, whether it is closed, and what its failures are to a caller."""

from contextvars import ContextVar
from typing import Any

import asyncpg

from dbcommon.failures import fault_of, without_values
from faults import DatabaseUnavailable

CLOSE_SECONDS = 0.25
"""How long a cancelled call waits for the server to cancel its statement; a connection for which that takes longer is closed."""
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
