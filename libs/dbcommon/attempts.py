"""One attempt to apply an event: its effect is kept or undone as a whole, and a failure is the event's own, or it passes."""

import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg

from dbcommon.database import Transaction
from dbcommon.failures import fault_of, sqlstate, violated
from faults import Aborted, DeadlineExceeded, Fault, ResourceExhausted, Unavailable

FRAMES_SHOWN = 3
PASSING = (Unavailable, Aborted, ResourceExhausted, DeadlineExceeded, MemoryError)
"""The same event may succeed a moment later: the database, a lock, a connection that broke under the transaction."""
UNFIT = ("25006", "3F000", "42501", "42703", "42883", "42P01")
"""A standby, or a schema that is not the one of this code (yet): read only, no such schema, grant, column, function, table."""

Handler = Callable[[Transaction, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an event could not be applied, without anything of what it or the rows hold."""

    name: str
    """The class of what was raised."""
    sentence: str


async def attempt(tx: Transaction, handler: Handler, event: Any) -> Failure | None:
    """Applies an event within a transaction that outlives its failure; gives the failure. Raises what is not the event's own.

    Constraints that are deferred are checked here: at the commit they would take the others with them.
    """
    try:
        async with tx.savepoint():
            await handler(tx, event)
            await tx.execute("SET CONSTRAINTS ALL IMMEDIATE")
            await tx.execute("SET CONSTRAINTS ALL DEFERRED")
    except Exception as error:
        if (failure := failure_of(error)) is None:
            raise
        return failure
    return None


def failure_of(error: Exception) -> Failure | None:
    """What of an error is the event's own; None where it comes from outside, and the next attempt may succeed."""
    passes = isinstance(fault_of(error) or error, PASSING) or sqlstate(error) in UNFIT
    return None if passes else Failure(name=type(error).__qualname__, sentence=_sentence(error))


def _sentence(error: Exception) -> str:
    """Only what cannot be private: faults' own sentences, names of constraints, places in the code; no message of a library."""
    if isinstance(error, Fault):
        return error.message
    if isinstance(error, asyncpg.PostgresError):
        constraint = violated(error)
        return f"the database refuses it: SQLSTATE {sqlstate(error)}{f', {constraint}' if constraint else ''}"
    frames = [f"{frame.f_globals.get('__name__')}:{line}" for frame, line in traceback.walk_tb(error.__traceback__)]
    return f"raised at {' > '.join(frames[-FRAMES_SHOWN:])}"
