"""The hot path: a station's bookings by keyset.

Rows go from here to `wire` as they come, without a domain object: the price of one would be a third of a page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bookings.tables import bookings
from dbcommon.keyset import Key, Keyset
from dbcommon.statements import selecting, typed

NAMES = [
    "id",
    "start_time",
    "station_id",
    "reference",
    "customer_id",
    "state",
    "slot_date",
    "slot_start",
    "end_time",
    "time_zone",
    "adults",
    "children",
    "infants",
    "currency_code",
    "total_minor",
    "deposit_minor",
    "paid_minor",
    "policy_version",
    "deposit_deadline_time",
    "created_by",
    "created_by_name",
    "confirm_time",
    "cancel_time",
    "cancelled_by",
    "refund_basis_points",
    "version",
    "create_time",
    "update_time",
]
COLUMNS = selecting(bookings, NAMES)
TYPED = typed(bookings, NAMES)
"""The columns with their types, for the compiled encoder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """What is asked for: one station's bookings; no states are all of them."""

    station_id: UUID
    start_from: datetime | None
    start_before: datetime | None
    states: Sequence[int]
    descending: bool
    page_size: int
    after: Key | None


def keyset(query: ListQuery) -> Keyset:
    """The list as ranges of `(station_id, start_time, id)`, or of `(station_id, state, start_time, id)` for each state."""
    where = []
    if query.start_from is not None:
        where.append(("b.start_time >=", query.start_from))
    if query.start_before is not None:
        where.append(("b.start_time <", query.start_before))
    return Keyset(
        tenant=query.station_id,
        table="bookings.bookings",
        columns=COLUMNS,
        order="start_time",
        descending=query.descending,
        where=where,
        arms=[("b.state =", state) for state in sorted(query.states)],
        page_size=query.page_size,
        after=query.after,
    )
