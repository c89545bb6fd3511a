"""The hot path: a page of a station's bookings by keyset, in one statement and one round trip.

Rows go from here to `wire` as they come, without a domain object: the price of one would be a third of a page.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from dbcommon.database import Read
from pages import Page

Row = Any
"""An asyncpg record with the columns of COLUMNS."""

COLUMNS = (
    "id, station_id, reference, customer_id, state, slot_date, slot_start, start_time, end_time, time_zone, adults, children,"
    " infants, currency_code, total_minor, deposit_minor, paid_minor, policy_version, deposit_deadline_time, created_by,"
    " created_by_name, confirm_time, cancel_time, cancelled_by, refund_basis_points, version, create_time, update_time"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """A list of one station, and the key (start, ID) of the row that its next page begins after."""

    station_id: UUID
    start_from: datetime | None
    start_before: datetime | None
    states: Sequence[int]
    descending: bool
    page_size: int
    after: tuple[datetime, UUID] | None = None

    def following(self, key: tuple[datetime, UUID]) -> "ListQuery":
        """The same list, from there on."""
        return replace(self, after=key)


async def page(read: Read, query: ListQuery) -> Page[Row]:
    """The page after the query's key; one row more is read than shown, which tells whether another page follows."""
    body, parameters = statement(query)
    rows = await read.rows(body, *parameters)
    shown = rows[: query.page_size]
    more = len(rows) > query.page_size
    return Page(rows=shown, next=(shown[-1]["start_time"], shown[-1]["id"]) if more else None)


def statement(query: ListQuery) -> tuple[str, list[Any]]:
    """The body for `tenancy.one_statement`, and its parameters from `$2` on.

    Several states are a keyset each, merged: one index range for each, and no sort.
    """
    parameters: list[Any] = []

    def parameter(value: Any) -> str:
        parameters.append(value)
        return f"${len(parameters) + 1}"

    order = "DESC" if query.descending else "ASC"
    where = ["b.station_id = s.tenant"]
    if query.start_from is not None:
        where.append(f"b.start_time >= {parameter(query.start_from)}")
    if query.start_before is not None:
        where.append(f"b.start_time < {parameter(query.start_before)}")
    if query.after is not None:
        compare = "<" if query.descending else ">"
        where.append(f"(b.start_time, b.id) {compare} ({parameter(query.after[0])}, {parameter(query.after[1])})")
    limit = 1 << query.page_size.bit_length()  # a literal, and few of them: statements stay prepared, plans generic
    end = f"ORDER BY start_time {order}, id {order} LIMIT {limit}"
    one = f"SELECT {COLUMNS} FROM bookings.bookings b WHERE {' AND '.join(where)}"
    if not query.states:
        return f"{one} {end}", parameters
    arms = " UNION ALL ".join(f"({one} AND b.state = {parameter(state)} {end})" for state in sorted(query.states))
    return f"SELECT * FROM ({arms}) m {end}", parameters
