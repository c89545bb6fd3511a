"""What a database of the code under test does: the connections that it takes, and the statements that it runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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


@contextmanager
def statements() -> Iterator[list[tuple[str, Sequence[Any]]]]:
    """Every statement that any database of this process runs meanwhile, as Postgres gets it, with its parameters."""
    seen: list[tuple[str, Sequence[Any]]] = []

    def noting(sql: str) -> tuple[str, Sequence[str]]:
        made = compiled(sql)
        seen.append((made[0], ()))
        return made

    def valued(names: Sequence[str], parameters: Mapping[str, Any] | None) -> Sequence[Any]:
        values = arguments(names, parameters)
        seen[-1] = (seen[-1][0], values)
        return values

    with pytest.MonkeyPatch.context() as patch:
        for module in ("database", "transactions"):
            patch.setattr(f"dbcommon.{module}.compiled", noting)
            patch.setattr(f"dbcommon.{module}.arguments", valued)
        yield seen
