"""What a database of the code under test does: the connections that it takes, and the statements that it runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import asyncpg
import pytest

from dbcommon.database import Database
from dbcommon.statements import arguments, compiled


def connections_of(database: Database, taken: list[asyncpg.Connection] | None = None) -> list[asyncpg.Connection]:
    """A list that every connection is added to which the database takes from now on: a new one, or `taken`."""
    taken = [] if taken is None else taken
    acquire = database.acquire

    async def noting() -> Any:
        connection = await acquire()
        if connection not in taken:
            taken.append(connection)
        return connection

    database.acquire = noting  # type: ignore[method-assign]  # of this one only
    return taken


WATCHED: ContextVar[object] = ContextVar("watched", default=None)


@contextmanager
def statements(*, everywhere: bool = False) -> Iterator[list[tuple[str, Sequence[Any]]]]:
    """Every statement that this task runs, and those that it begins, as Postgres gets it, with its parameters.

    `everywhere` is those of the whole process, where stacks that other tests share go on meanwhile.
    """
    seen: list[tuple[str, Sequence[Any]]] = []
    token = WATCHED.set(seen)

    def ours() -> bool:
        return everywhere or WATCHED.get() is seen

    def noting(sql: str) -> tuple[str, Sequence[str]]:
        made = compiled(sql)
        if ours():
            seen.append((made[0], ()))
        return made

    def valued(names: Sequence[str], parameters: Mapping[str, Any] | None) -> Sequence[Any]:
        values = arguments(names, parameters)
        if ours():
            seen[-1] = (seen[-1][0], values)
        return values

    with pytest.MonkeyPatch.context() as patch:
        for module in ("database", "transactions"):
            patch.setattr(f"dbcommon.{module}.compiled", noting)
            patch.setattr(f"dbcommon.{module}.arguments", valued)
        yield seen
    WATCHED.reset(token)
