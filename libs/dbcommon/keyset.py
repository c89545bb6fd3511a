"""Lists by keyset: each page one index range, one statement, one round trip, whatever came before it."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from dbcommon.database import Database
from pages import Page

PAGE_SIZES_USUAL = frozenset((1, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1_000))
Row = Any
"""An asyncpg record."""
Key = tuple[datetime, UUID]
"""Where a page ends: the time that orders, and the ID that breaks ties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyset:
    """A list of one tenant's rows, ordered by a time and the ID, and the key of the row that its next page begins after."""

    tenant: UUID
    table: str
    """With its schema."""
    columns: str
    order: str
    """The column that orders; `id` breaks ties."""
    descending: bool
    where: Sequence[tuple[str, Any]] = ()
    """Conditions, each a comparison that its value completes: `("b.start_time >=", instant)`."""
    arms: Sequence[tuple[str, Any]] = ()
    """Alternatives; each becomes an index range of its own, and they are merged without a sort."""
    page_size: int
    after: Key | None = None

    def following(self, key: Key) -> "Keyset":
        """The same list, from there on."""
        return replace(self, after=key)

    def statement(self, rows: int | None = None) -> tuple[str, list[Any]]:
        """The body for `tenancy.one_statement`, and its parameters from `$2` on: a page and a row more, or so many rows."""
        parameters: list[Any] = []

        def parameter(value: Any) -> str:
            parameters.append(value)
            return f"${len(parameters) + 1}"

        conditions = ["b.station_id = s.tenant", *(f"{compared} {parameter(value)}" for compared, value in self.where)]
        if self.after is not None:
            time, id = (parameter(part) for part in self.after)
            conditions.append(f"(b.{self.order}, b.id) {'<' if self.descending else '>'} ({time}, {id})")
        direction = "DESC" if self.descending else "ASC"
        limit = _limit(self.page_size + 1) if rows is None else rows
        end = f"ORDER BY {self.order} {direction}, id {direction} LIMIT {limit}"
        one = f"SELECT {self.columns} FROM {self.table} b WHERE {' AND '.join(conditions)}"
        if not self.arms:
            return f"{one} {end}", parameters
        arms = " UNION ALL ".join(f"({one} AND {compared} {parameter(value)} {end})" for compared, value in self.arms)
        return f"SELECT * FROM ({arms}) m {end}", parameters


def _limit(rows: int) -> int:
    """A literal, and few of them: statements stay prepared, plans generic. The next power of two costs 13% of a page of 50."""
    return rows if rows - 1 in PAGE_SIZES_USUAL else 1 << (rows - 1).bit_length()


async def pages(database: Database, keyset: Keyset) -> AsyncGenerator[Page[Row], None]:
    """The pages of a list to its end; no connection is held while one is being sent.

    A page reads one row more than it shows at least: that tells whether another one follows.
    """
    while True:
        body, parameters = keyset.statement()
        rows = await database.read(body, *parameters, tenant=keyset.tenant)
        shown = rows[: keyset.page_size]
        key = (shown[-1][keyset.order], shown[-1]["id"]) if len(rows) > keyset.page_size else None
        yield Page(rows=shown, next=key)
        if key is None:
            return
        keyset = keyset.following(key)
