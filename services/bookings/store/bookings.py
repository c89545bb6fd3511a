"""Bookings, one at a time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from bookings.domain.bookings import Booking, BookingNotFound, CancelledBy, ReferenceTaken, State
from bookings.domain.price import Guests, Line
from bookings.domain.slots import Slot, SlotKey, full
from bookings.tables import CHANGING, bookings, outbox
from dbcommon import feed, parked, references
from dbcommon.constraints import refusing
from dbcommon.database import Database, Transaction
from dbcommon.feed import Event
from dbcommon.statements import inserting, updating


async def insert_booking(tx: Transaction, booking: Booking, slot: Slot, event: Event) -> Booking:
    """Takes a place, and tells others of it, in one statement: the database decides.

    Raises SlotFull, ReferenceTaken, ReferenceClosed, FeedStale.
    """
    row = _row(booking)
    lines: dict[str, list[Any]] = {
        "line": list(range(len(booking.lines))),
        "line_kind": [line.kind for line in booking.lines],
        "line_quantity": [line.quantity for line in booking.lines],
        "line_unit_minor": [line.unit_minor for line in booking.lines],
        "line_amount_minor": [line.amount_minor for line in booking.lines],
    }
    announcing, told = feed.appending(tx, outbox, event)
    faults: dict[str, Exception] = {
        "bookings_reference_key": ReferenceTaken(),
        "slots_within_capacity": full(slot),
        "slots_apart": full(replace(slot, overlapped=True)),
        **references.refusals("bookings", "station_id", type="identity.Station", owner="identity"),
    }
    with refusing(faults):
        await tx.execute(
            f"WITH booking AS ({inserting(bookings, row)}), priced AS ({LINES}) {announcing}", {**row, **lines, **told}
        )
    return booking


async def get(app: Database, station_id: UUID, booking_id: UUID) -> Booking:
    """A booking with its price lines. Raises BookingNotFound."""
    return _priced(await read(app, station_id, booking_id))


async def read(app: Database, station_id: UUID, booking_id: UUID) -> Any:
    """The same as its row, in one round trip: an answer that only shows it needs no more. Raises BookingNotFound."""
    return _one(await app.read(ONE, booking_id, tenant=station_id), booking_id)


async def lock_booking(tx: Transaction, station_id: UUID, booking_id: UUID) -> Booking:
    """A booking with its lines, locked; what changes its place has locked its slot before. Raises BookingNotFound."""
    lock = (
        f"SELECT {COLUMNS}, {PRICED} FROM bookings.bookings b WHERE b.station_id = :station AND b.id = :id FOR NO KEY UPDATE"
    )  # fmt: skip
    return _priced(_one(await tx.execute(lock, {"station": station_id, "id": booking_id}), booking_id))


def _one(rows: Sequence[Any], booking_id: UUID) -> Any:
    if not rows:
        raise BookingNotFound("there is no such booking in this station", booking_id=booking_id)
    return rows[0]


def _priced(row: Any) -> Booking:
    lines = zip(row["line_kinds"], row["line_quantities"], row["line_units_minor"], strict=True)
    return _booking(row, [Line(kind=kind, quantity=quantity, unit_minor=unit) for kind, quantity, unit in lines])


async def lock_paid(tx: Transaction, station_id: UUID, booking_id: UUID) -> tuple[Booking, UUID | None, int]:
    """A booking without its lines, likewise locked, with epoch and version of the account's event that it has applied.

    Raises BookingNotFound. For the platform's role, which sees no lines.
    """
    lock = (
        f"SELECT {COLUMNS}, b.paid_epoch, b.paid_version FROM bookings.bookings b WHERE b.station_id = :station AND b.id = :id"
        " FOR NO KEY UPDATE"
    )
    row = (await tx.execute(lock, {"station": station_id, "id": booking_id})).first()
    if row is None:
        raise BookingNotFound("there is no such booking in this station", booking_id=booking_id)
    return _booking(row), row["paid_epoch"], row["paid_version"]


async def note_lost(tx: Transaction, booking_id: UUID) -> None:
    """Notes that what a booking has paid is lost to payments."""
    await tx.execute(NOTING.format(which="b.id = :id"), {"id": booking_id})


async def note_untold(tx: Transaction, epoch: UUID) -> int:
    """Likewise of all, of any station, of which no account has told in an epoch: how many. What lies aside was told; locks no booking."""
    told = parked.lies_aside("bookings", "payments", "b.id")
    return await tx.count(NOTING.format(which=f"b.paid_epoch IS DISTINCT FROM :epoch AND NOT {told}"), {"epoch": epoch})


async def found_again(tx: Transaction, booking_id: UUID, captured_minor: int) -> None:
    """Strikes what was lost, where as much was captured."""
    struck = "DELETE FROM bookings.lost_money WHERE booking_id = :id AND paid_minor <= :captured"
    await tx.execute(struck, {"id": booking_id, "captured": captured_minor})


async def present_epoch(tx: Transaction) -> UUID | None:
    """The epoch of this service's feed; None where the relay has not begun it yet."""
    return await feed.present_epoch(tx, "bookings")


async def lock_overdue(tx: Transaction, *, now: datetime, limit: int) -> list[Booking]:
    """PENDING bookings whose deposit should have come, of any station, without lines, locked; left out is what others have locked."""
    where = f"state = {State.PENDING:d} AND deposit_deadline_time <= :now ORDER BY deposit_deadline_time"
    return await _locked(tx, where, {"now": now, "limit": limit})


async def lock_unanswered(tx: Transaction, *, now: datetime, least: timedelta, most: timedelta, limit: int) -> list[Booking]:
    """EXPIRING bookings that payments was asked about in vain, likewise: as long ago as it had taken until then, or `most`."""
    where = (
        f"state = {State.EXPIRING:d} AND update_time <= :before"
        " AND update_time + least(update_time - expiring_time, :most) <= :now ORDER BY update_time"
    )
    return await _locked(tx, where, {"now": now, "before": now - least, "most": most, "limit": limit})


async def _locked(tx: Transaction, where: str, values: Mapping[str, Any]) -> list[Booking]:
    """States stand in conditions as literals: partial indexes are chosen by them, also for a generic plan."""
    statement = f"SELECT {COLUMNS} FROM bookings.bookings b WHERE {where} LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED"
    return [_booking(row) for row in await tx.execute(statement, values)]


async def save(tx: Transaction, booking: Booking, event: Event | None, **paid_by: Any) -> None:
    """Writes what can change of a locked booking, and tells others, in one statement. `paid_by`: `paid_epoch`, `paid_version`."""
    row = _row(booking)
    changed = {name: row[name] for name in CHANGING} | paid_by
    saving = f"{updating(bookings, changed)} WHERE station_id = :station_id AND id = :id"
    values = {**changed, "station_id": booking.station_id, "id": booking.booking_id}
    if event is None:
        await tx.execute(saving, values)
        return
    announcing, told = feed.appending(tx, outbox, event)
    await tx.execute(f"WITH booking AS ({saving}) {announcing}", {**values, **told})


async def referents(tx: Transaction, ids: list[UUID]) -> list[Booking]:
    """The bookings among these IDs, of any station, without lines: what other services are told of."""
    statement = f"SELECT {COLUMNS} FROM bookings.bookings b WHERE id = ANY(:ids)"
    return [_booking(row) for row in await tx.execute(statement, {"ids": ids})]


async def referents_after(tx: Transaction, booking_id: UUID | None, limit: int) -> list[Booking]:
    """Bookings by ID, after an ID, of any station, without lines."""
    statement = f"SELECT {COLUMNS} FROM bookings.bookings b WHERE id > :after ORDER BY id LIMIT :limit"
    return [_booking(row) for row in await tx.execute(statement, {"after": booking_id or UUID(int=0), "limit": limit})]


_SAME = (
    "station_id", "reference", "customer_id", "start_time", "end_time", "time_zone", "currency_code", "total_minor",
    "deposit_minor", "paid_minor", "policy_version", "requests", "deposit_deadline_time", "created_by", "created_by_name",
    "confirm_time", "expiring_time", "cancel_time", "refund_basis_points", "version", "create_time", "update_time",
)  # fmt: skip
"""Columns and fields of one name and one type."""


COLUMNS = ", ".join(
    f"b.{name}" for name in ("id", "state", "slot_date", "slot_start", "adults", "children", "infants", "cancelled_by", *_SAME)
)
PRICED = ", ".join(
    f"ARRAY(SELECT l.{column} FROM bookings.price_lines l WHERE l.station_id = b.station_id AND l.booking_id = b.id ORDER BY l.line)"
    f" AS {name}"
    for column, name in (("kind", "line_kinds"), ("quantity", "line_quantities"), ("unit_minor", "line_units_minor"))
)
ONE = f"SELECT {COLUMNS}, {PRICED} FROM bookings.bookings b WHERE b.station_id = s.tenant AND b.id = $2 LIMIT 1"
LINES = (
    "INSERT INTO bookings.price_lines (station_id, booking_id, line, kind, quantity, unit_minor, amount_minor)"
    " SELECT CAST(:station_id AS uuid), CAST(:id AS uuid), l.* FROM unnest(CAST(:line AS smallint[]), CAST(:line_kind AS text[]),"
    " CAST(:line_quantity AS integer[]), CAST(:line_unit_minor AS bigint[]), CAST(:line_amount_minor AS bigint[])) l"
)
NOTING = (
    "INSERT INTO bookings.lost_money AS lost (booking_id, station_id, paid_minor)"
    " SELECT b.id, b.station_id, b.paid_minor FROM bookings.bookings b WHERE b.paid_minor > 0 AND {which}"
    " ON CONFLICT (booking_id) DO UPDATE SET paid_minor = excluded.paid_minor, settled_time = NULL"
    " WHERE excluded.paid_minor > lost.paid_minor"
)
"""What was settled stays so, but for more."""


def _row(booking: Booking) -> dict[str, Any]:
    return {
        **{name: getattr(booking, name) for name in _SAME},
        "id": booking.booking_id,
        "state": booking.state.value,
        "slot_date": booking.slot.date,
        "slot_start": booking.slot.start,
        "adults": booking.guests.adults,
        "children": booking.guests.children,
        "infants": booking.guests.infants,
        "cancelled_by": booking.cancelled_by.value if booking.cancelled_by else None,
    }


def _booking(row: Any, lines: Iterable[Line] = ()) -> Booking:
    return Booking(
        **{name: row[name] for name in _SAME},
        booking_id=row["id"],
        state=State(row["state"]),
        slot=SlotKey(date=row["slot_date"], start=row["slot_start"]),
        guests=Guests(adults=row["adults"], children=row["children"], infants=row["infants"]),
        lines=tuple(lines),
        cancelled_by=CancelledBy(row["cancelled_by"]) if row["cancelled_by"] else None,
    )
