"""Bookings, one at a time."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, bindparam, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.sql import ColumnElement

from bookings.domain.bookings import Booking, BookingNotFound, CancelledBy, State
from bookings.domain.price import Guests, Line
from bookings.domain.slots import Slot, SlotKey, full
from bookings.tables import bookings, lost_money, outbox, price_lines
from dbcommon import feed, parked, references
from dbcommon.constraints import refusing
from dbcommon.database import Transaction
from dbcommon.feed import Event


async def insert_booking(tx: Transaction, booking: Booking, slot: Slot) -> Booking:
    """Takes a place. Raises SlotFull, ReferenceClosed, FeedStale: the database decides all of them."""
    faults = {
        "slots_within_capacity": full(slot),
        **references.refusals("bookings", "station_id", type="identity.Station", owner="identity"),
    }
    with refusing(faults):
        await tx.execute(insert(bookings).values(_row(booking)))
    lines = [
        {
            "station_id": booking.station_id,
            "booking_id": booking.booking_id,
            "line": number,
            "kind": line.kind,
            "quantity": line.quantity,
            "unit_minor": line.unit_minor,
            "amount_minor": line.amount_minor,
        }
        for number, line in enumerate(booking.lines)
    ]
    await tx.execute(insert(price_lines).values(lines))
    return booking


async def get(tx: Transaction, station_id: UUID, booking_id: UUID) -> Booking:
    """A booking with its price lines. Raises BookingNotFound."""
    booking = await _one(tx, station_id, booking_id, lock=False)
    return replace(booking, lines=await _lines(tx, station_id, booking_id))


async def lock_booking(tx: Transaction, station_id: UUID, booking_id: UUID) -> Booking:
    """A booking without its price lines, locked; what changes its place has locked its slot before. Raises BookingNotFound."""
    return await _one(tx, station_id, booking_id, lock=True)


async def _one(tx: Transaction, station_id: UUID, booking_id: UUID, *, lock: bool) -> Booking:
    statement = select(bookings).where(bookings.c.station_id == station_id, bookings.c.id == booking_id)
    row = (await tx.execute(statement.with_for_update(key_share=True) if lock else statement)).mappings().first()
    if row is None:
        raise BookingNotFound("there is no such booking in this station", booking_id=booking_id)
    return _booking(row)


async def paid_so_far(tx: Transaction, station_id: UUID, booking_id: UUID) -> tuple[UUID | None, int]:
    """Epoch and version of the account's event that the booking has applied."""
    columns = (bookings.c.paid_epoch, bookings.c.paid_version)
    where = (bookings.c.station_id == station_id, bookings.c.id == booking_id)
    row = (await tx.execute(select(*columns).where(*where))).one()
    return row.paid_epoch, row.paid_version


async def note_lost(tx: Transaction, booking_id: UUID) -> None:
    """Notes that what a booking has paid is lost to payments."""
    await _note_lost(tx, bookings.c.id == booking_id)


async def note_untold(tx: Transaction, epoch: UUID) -> int:
    """Likewise of all, of any station, of which no account has told in an epoch: how many. What lies aside was told; locks no booking."""
    told = text("NOT " + parked.lies_aside("bookings", "payments", "bookings.id"))
    return await _note_lost(tx, bookings.c.paid_epoch.is_distinct_from(epoch), told)


async def _note_lost(tx: Transaction, *which: ColumnElement[bool] | TextClause) -> int:
    """What was settled stays so, but for more."""
    lost = select(bookings.c.id, bookings.c.station_id, bookings.c.paid_minor).where(bookings.c.paid_minor > 0, *which)
    noting = upsert(lost_money).from_select(["booking_id", "station_id", "paid_minor"], lost)
    news = {"paid_minor": noting.excluded.paid_minor, "settled_time": None}
    more = noting.excluded.paid_minor > lost_money.c.paid_minor
    return (await tx.execute(noting.on_conflict_do_update(index_elements=["booking_id"], set_=news, where=more))).rowcount


async def found_again(tx: Transaction, booking_id: UUID, captured_minor: int) -> None:
    """Strikes what was lost, where as much was captured."""
    columns = lost_money.c
    await tx.execute(delete(lost_money).where(columns.booking_id == booking_id, columns.paid_minor <= captured_minor))


async def present_epoch(tx: Transaction) -> UUID | None:
    """The epoch of this service's feed; None where the relay has not begun it yet."""
    return await feed.present_epoch(tx, "bookings")


async def lock_overdue(tx: Transaction, *, now: datetime, limit: int) -> list[Booking]:
    """PENDING bookings whose deposit should have come, of any station, without lines, locked; left out is what others have locked."""
    deadline = bookings.c.deposit_deadline_time
    return await _locked(tx, _is(State.PENDING), deadline <= now, order=deadline, limit=limit)


async def lock_unanswered(tx: Transaction, *, now: datetime, least: timedelta, most: timedelta, limit: int) -> list[Booking]:
    """EXPIRING bookings that payments was asked about in vain, likewise: as long ago as it had taken until then, or `most`."""
    asked = bookings.c.update_time
    pause = func.least(asked - bookings.c.expiring_time, most)
    return await _locked(tx, _is(State.EXPIRING), asked <= now - least, asked + pause <= now, order=asked, limit=limit)


def _is(state: State) -> ColumnElement[bool]:
    """As a literal: the partial indexes are chosen by it, also for a generic plan."""
    return bookings.c.state == bindparam("state", state.value, literal_execute=True)


async def _locked(tx: Transaction, *where: ColumnElement[bool], order: ColumnElement[Any], limit: int) -> list[Booking]:
    statement = select(bookings).where(*where).order_by(order).limit(limit)
    rows = await tx.execute(statement.with_for_update(key_share=True, skip_locked=True))
    return [_booking(row) for row in rows.mappings()]


async def save(tx: Transaction, booking: Booking, **paid_by: Any) -> None:
    """Writes what can change; the row is locked. `paid_by`: `paid_epoch`, `paid_version`."""
    changed = {name: value for name, value in _row(booking).items() if name in _CHANGING}
    where = (bookings.c.station_id == booking.station_id, bookings.c.id == booking.booking_id)
    await tx.execute(update(bookings).where(*where).values(**changed, **paid_by))


async def announce(tx: Transaction, event: Event) -> None:
    """Tells other services of a change, once the booking's row is locked."""
    await feed.append(tx, outbox, event)


async def slot_of(tx: Transaction, station_id: UUID, booking_id: UUID) -> SlotKey:
    """The slot that a booking stands in, unlocked. Raises BookingNotFound."""
    columns = (bookings.c.slot_date, bookings.c.slot_start)
    where = (bookings.c.station_id == station_id, bookings.c.id == booking_id)
    row = (await tx.execute(select(*columns).where(*where))).first()
    if row is None:
        raise BookingNotFound("there is no such booking in this station", booking_id=booking_id)
    return SlotKey(date=row.slot_date, start=row.slot_start)


async def referents(tx: Transaction, ids: list[UUID]) -> list[Booking]:
    """The bookings among these IDs, of any station, without lines: what other services are told of."""
    rows = await tx.execute(select(bookings).where(bookings.c.id.in_(ids)))
    return [_booking(row) for row in rows.mappings()]


async def referents_after(tx: Transaction, booking_id: UUID | None, limit: int) -> list[Booking]:
    """Bookings by ID, after an ID, of any station, without lines."""
    statement = select(bookings).order_by(bookings.c.id).limit(limit)
    if booking_id is not None:
        statement = statement.where(bookings.c.id > booking_id)
    return [_booking(row) for row in (await tx.execute(statement)).mappings()]


async def _lines(tx: Transaction, station_id: UUID, booking_id: UUID) -> tuple[Line, ...]:
    where = (price_lines.c.station_id == station_id, price_lines.c.booking_id == booking_id)
    rows = await tx.execute(select(price_lines).where(*where).order_by(price_lines.c.line))
    return tuple(Line(kind=row.kind, quantity=row.quantity, unit_minor=row.unit_minor) for row in rows)


_CHANGING = frozenset((
    "state", "paid_minor", "confirm_time", "expiring_time", "cancel_time", "cancelled_by", "refund_basis_points", "version",
    "update_time",
))  # fmt: skip
_SAME = (
    "station_id", "reference", "customer_id", "start_time", "end_time", "time_zone", "currency_code", "total_minor",
    "deposit_minor", "paid_minor", "policy_version", "requests", "deposit_deadline_time", "created_by", "created_by_name",
    "confirm_time", "expiring_time", "cancel_time", "refund_basis_points", "version", "create_time", "update_time",
)  # fmt: skip
"""Columns and fields of one name and one type."""


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


def _booking(row: Any) -> Booking:
    return Booking(
        **{name: row[name] for name in _SAME},
        booking_id=row["id"],
        state=State(row["state"]),
        slot=SlotKey(date=row["slot_date"], start=row["slot_start"]),
        guests=Guests(adults=row["adults"], children=row["children"], infants=row["infants"]),
        lines=(),
        cancelled_by=CancelledBy(row["cancelled_by"]) if row["cancelled_by"] else None,
    )
