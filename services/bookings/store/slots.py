"""Schedules and slots. The row of a slot is the lock of its places; a trigger keeps `taken`, another one the capacity."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from bookings.domain.slots import DEFAULT_WEEK, Schedule, ScheduledSlot, Slot, SlotKey, Station, full
from bookings.tables import schedule_slots, slots
from dbcommon import references
from dbcommon.constraints import refusing
from dbcommon.database import Transaction
from dbcommon.statements import inserting, inserting_all, lists
from faults import FeedStale, ReferenceClosed

KEPT_MAX = 100
SLOT = "local_date, local_start, start_time, end_time, capacity, taken"
IS_SLOT = "station_id = :station AND local_date = :date AND local_start = :start"
FOLLOWING = (
    "capacity = excluded.capacity,"
    " start_time = CASE WHEN slots.taken > 0 THEN least(slots.start_time, excluded.start_time) ELSE excluded.start_time END,"
    " end_time = CASE WHEN slots.taken > 0 THEN greatest(slots.end_time, excluded.end_time) ELSE excluded.end_time END"
)
"""How a slot that is there follows the schedule."""
WEEK = ", ".join(
    f"ARRAY(SELECT w.{column} FROM bookings.schedule_slots w WHERE w.station_id = {{station}}"
    f" ORDER BY w.weekday, w.local_start) AS week_{column}"
    for column in ("weekday", "local_start", "length_minutes", "capacity")
)
"""The slots of a station's week as arrays, in one order; of the station that an expression names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a booking is made of: where, when, and what is taken."""

    station: Station
    schedule: Schedule
    slot: Slot | None
    """The slot's row, where anybody ever took a place in it."""
    customer_known: bool


async def station(tx: Transaction, station_id: UUID) -> Station:
    """The facts of the tenant's station. Raises FeedStale where its known row is not there (any more)."""
    facts = "SELECT time_zone, currency_code, state FROM bookings.known_stations WHERE id = :id"
    return _station((await tx.execute(facts, {"id": station_id})).first(), station_id)


async def offer(tx: Transaction, station_id: UUID, key: SlotKey, customer_id: UUID, *, lock: bool) -> Offer:
    """Everything that a booking is decided by, in one statement; with `lock` the slot is locked until the transaction ends.

    Raises FeedStale, ReferenceClosed where the station is not in use (early, with a clear answer: the guard decides what is
    written). Reads nothing private.
    """
    locking = " FOR NO KEY UPDATE" if lock else ""
    statement = (
        f"WITH slot AS MATERIALIZED (SELECT {SLOT} FROM bookings.slots WHERE {IS_SLOT}{locking})"
        " SELECT k.time_zone, k.currency_code, k.state, h.version, h.update_time, slot.local_date, slot.local_start,"
        " slot.start_time, slot.end_time, slot.capacity, slot.taken,"
        " EXISTS (SELECT FROM bookings.customers c WHERE c.station_id = k.id AND c.id = :customer) AS has_customer,"
        f" {WEEK.format(station='k.id')}"
        " FROM bookings.known_stations k LEFT JOIN bookings.schedules h ON h.station_id = k.id LEFT JOIN slot ON true"
        " WHERE k.id = :station"
    )
    values = {"station": station_id, "date": key.date, "start": key.start, "customer": customer_id}
    row = (await tx.execute(statement, values)).first()
    place = _station(row, station_id)
    if not place.in_use:
        raise ReferenceClosed("the station is not in use", field="station_id", type="identity.Station")
    slot = None if row.local_date is None else _slot(row)
    return Offer(station=place, schedule=_schedule(row, station_id), slot=slot, customer_known=row.has_customer)


async def lock_schedule(tx: Transaction, station_id: UUID, now: datetime) -> Schedule:
    """The station's week, locked until the transaction ends, also the first one. Raises ReferenceClosed, FeedStale."""
    first = "INSERT INTO bookings.schedules (station_id, version, update_time) VALUES (:station, 0, :now) ON CONFLICT DO NOTHING"
    with refusing(references.refusals("schedules", "station_id", type="identity.Station", owner="identity")):
        await tx.execute(first, {"station": station_id, "now": now})
    await tx.execute("SELECT version FROM bookings.schedules WHERE station_id = :station FOR UPDATE", {"station": station_id})
    return await schedule(tx, station_id)


async def schedule(tx: Transaction, station_id: UUID) -> Schedule:
    """The station's week: the default one (version 0) where it never set its own."""
    week = (
        f"SELECT h.version, h.update_time, {WEEK.format(station='h.station_id')} FROM bookings.schedules h WHERE h.station_id = :id"
    )
    return _schedule((await tx.execute(week, {"id": station_id})).first(), station_id)


async def replace_schedule(tx: Transaction, new: Schedule) -> Schedule:
    """Replaces the week, which is locked."""
    head = "UPDATE bookings.schedules SET version = :version, update_time = :time WHERE station_id = :station"
    await tx.execute(head, {"version": new.version, "time": new.update_time, "station": new.station_id})
    await tx.execute("DELETE FROM bookings.schedule_slots WHERE station_id = :station", {"station": new.station_id})
    if new.slots:
        rows = [
            {
                "station_id": new.station_id,
                "weekday": slot.weekday,
                "local_start": slot.start,
                "length_minutes": slot.length_minutes,
                "capacity": slot.capacity,
            }
            for slot in new.slots
        ]
        await tx.execute(inserting_all(schedule_slots, rows[0]), lists(rows))
    return new


async def take_slot(tx: Transaction, station_id: UUID, offered: Slot, found: Slot | None) -> Slot:
    """The slot with its present capacity and places, locked until the transaction ends. Raises SlotFull, ReferenceClosed, FeedStale.

    `found` is its row, where `offer` has locked one. It is made when a place is first taken; its capacity follows the schedule, and
    its times do: while bookings are kept in it, it lasts as long as any of them may.
    """
    if found is not None and replace(offered, taken=found.taken) == found:
        return found
    row = {
        "station_id": station_id,
        "local_date": offered.key.date,
        "local_start": offered.key.start,
        "start_time": offered.start_time,
        "end_time": offered.end_time,
        "capacity": offered.capacity,
    }
    key = "station_id, local_date, local_start"
    taking = f"{inserting(slots, row)} ON CONFLICT ({key}) DO UPDATE SET {FOLLOWING} RETURNING {SLOT}"
    faults = {
        "slots_apart": full(replace(offered, taken=found.taken if found else 0, overlapped=True)),
        **references.refusals("slots", "station_id", type="identity.Station", owner="identity"),
    }
    with refusing(faults):
        return _slot((await tx.execute(taking, row)).one())


async def lock_slot_of_booking(tx: Transaction, station_id: UUID, booking_id: UUID) -> None:
    """Locks the slot that a booking stands in, before the booking itself: the other order deadlocks."""
    lock = (
        "SELECT FROM bookings.slots s JOIN bookings.bookings b"
        " ON b.station_id = s.station_id AND b.slot_date = s.local_date AND b.slot_start = s.local_start"
        " WHERE b.station_id = :station AND b.id = :id FOR NO KEY UPDATE OF s"
    )
    await tx.execute(lock, {"station": station_id, "id": booking_id})


async def slots_around(tx: Transaction, station_id: UUID, first: date, last: date) -> dict[SlotKey, Slot]:
    """The slots of those local dates, and of two more before and after, in which bookings are kept."""
    statement = (
        f"SELECT {SLOT} FROM bookings.slots WHERE station_id = :station AND taken > 0"
        " AND local_date BETWEEN CAST(:first AS date) - 2 AND CAST(:last AS date) + 2"
    )
    rows = await tx.execute(statement, {"station": station_id, "first": first, "last": last})
    return {slot.key: slot for slot in map(_slot, rows)}


async def slots_left_over(tx: Transaction, station_id: UUID, week: Sequence[ScheduledSlot], now: datetime) -> list[Slot]:
    """The slots to come in which bookings are kept, and that a week does not have with that length; the soonest KEPT_MAX.

    Length as an interval of instants: on the day of a change of the clocks, a slot that the week has may be among them.
    """
    statement = (
        f"SELECT {SLOT} FROM bookings.slots s WHERE s.station_id = :station AND s.taken > 0 AND s.end_time > :now AND NOT EXISTS"
        " (SELECT FROM unnest(CAST(:weekdays AS integer[]), CAST(:starts AS time[]), CAST(:lengths AS integer[]))"
        " AS w (weekday, local_start, minutes) WHERE w.weekday = extract(isodow FROM s.local_date)"
        " AND w.local_start = s.local_start AND make_interval(mins => w.minutes) = s.end_time - s.start_time)"
        f" ORDER BY s.start_time LIMIT {KEPT_MAX}"
    )
    scheduled = {
        "weekdays": [slot.weekday for slot in week],
        "starts": [slot.start for slot in week],
        "lengths": [slot.length_minutes for slot in week],
    }
    return [_slot(row) for row in await tx.execute(statement, {"station": station_id, "now": now, **scheduled})]


def _station(row: Any, station_id: UUID) -> Station:
    if row is None:
        raise FeedStale("the station has to be checked again", feed="identity")
    in_use = row.state == references.Known.OPEN
    return Station(station_id=station_id, time_zone=row.time_zone, currency_code=row.currency_code, in_use=in_use)


def _schedule(row: Any, station_id: UUID) -> Schedule:
    if row is None or row.version is None:
        return Schedule(station_id=station_id, slots=DEFAULT_WEEK)
    week: Sequence[ScheduledSlot] = [
        ScheduledSlot(weekday=weekday, start=start, length_minutes=length, capacity=capacity)
        for weekday, start, length, capacity in zip(
            row.week_weekday, row.week_local_start, row.week_length_minutes, row.week_capacity, strict=True
        )
    ]
    return Schedule(station_id=station_id, slots=tuple(week) or DEFAULT_WEEK, version=row.version, update_time=row.update_time)


def _slot(row: Any) -> Slot:
    return Slot(
        key=SlotKey(date=row.local_date, start=row.local_start),
        start_time=row.start_time,
        end_time=row.end_time,
        capacity=row.capacity,
        taken=row.taken,
    )
