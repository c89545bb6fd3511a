"""What the database's failures are to a caller: by SQLSTATE, wherever a connection is made, taken or used."""

from collections.abc import Sequence

import asyncpg

from faults import DatabaseUnavailable, DeadlineExceeded, Fault, LockTimeout

RETRIED: Sequence[str] = ("55P03", "40P01", "40001")  # lock_not_available, deadlock_detected, serialization_failure
UNAVAILABLE = ("08", "53", "57P", "58")  # connections, resources (disk full too), shutdown, the system
VALUES = "22"
"""Data exceptions, whose messages quote the value; asyncpg's own of what it cannot encode are of this class too."""
OUTDATED = asyncpg.InvalidCachedStatementError
"""A migration changed a type under a statement that this connection had prepared; asyncpg has forgotten it by now."""


def fault_of(error: BaseException) -> Fault | None:
    """Returns the fault that stands for a failure; None where it is a mistake of ours, or a fault already.

    See appendix A of the PostgreSQL documentation for the classes.
    """
    if isinstance(error, OUTDATED):
        return DatabaseUnavailable("the schema has just changed under this call")
    if isinstance(error, asyncpg.PostgresError):
        return _by_state(sqlstate(error) or "")
    if isinstance(error, OSError | asyncpg.InternalClientError):  # a connection attempt's TimeoutError is an OSError
        return DatabaseUnavailable("the database does not answer")
    return None


def without_values(error: Exception) -> Exception:
    """Takes out of an error what people sent, since errors are logged: the row in its detail, the value that does not fit."""
    if isinstance(error, asyncpg.PostgresError):
        error.detail = None
        if (sqlstate(error) or "").startswith(VALUES):
            error.args = (f"the database cannot take a value, SQLSTATE {sqlstate(error)}",)
    return error


def sqlstate(error: BaseException) -> str | None:
    """Returns the SQLSTATE of an error of the database, where it has one."""
    state: str | None = getattr(error, "sqlstate", None)
    return state


def violated(error: BaseException) -> str | None:
    """Returns the name of the constraint that an error is about, or of the trigger that raised under its name."""
    name: str | None = getattr(error, "constraint_name", None)
    return name


def _by_state(state: str) -> Fault | None:
    if state in RETRIED:
        return LockTimeout("another call was at the same rows for too long")
    if state == "57014":  # query_canceled, by statement_timeout
        return DeadlineExceeded("the database took too long")
    if state.startswith("08"):
        return DatabaseUnavailable("the connection to the database broke; nobody knows what was committed")
    if state.startswith(UNAVAILABLE):
        return DatabaseUnavailable("the database cannot do it now")
    return None
