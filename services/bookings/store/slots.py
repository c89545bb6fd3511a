"""Schedules and slots. The row of a slot is the lock of its places; a trigger keeps `taken`, another one the capacity."""

from dataclasses import replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from bookings.domain.slots import DEFAULT_WEEK, Schedule, ScheduledSlot, Slot, SlotKey, Station
from bookings.tables import known_stations, schedule_slots, schedules, slots
from dbcommon import references
from dbcommon.constraints import refusing
from dbcommon.database import Transaction
from faults import FeedStale, ReferenceClosed


async def station(tx: Transaction, station_id: UUID, *, in_use: bool = False) -> Station:
    """The facts of the tenant's station. Raises FeedStale where its known row is not there (any more).

    `in_use` raises ReferenceClosed where it is not: early, with a clear answer. What is written, the guard decides.
    """
    columns = (known_stations.c.time_zone, known_stations.c.currency_code, known_stations.c.state)
    row = (await tx.execute(select(*columns).where(known_stations.c.id == station_id))).first()
    if row is None:
        raise FeedStale("the station has to be checked again", feed="identity")
    if in_use and row.state != references.Known.OPEN:
        raise ReferenceClosed("the station is not in use", field="station_id", type="identity.Station")
    return Station(station_id=station_id, time_zone=row.time_zone, currency_code=row.currency_code)


async def lock_schedule(tx: Transaction, station_id: UUID, now: datetime) -> Schedule:
    """The station's week, locked until the transaction ends, also the first one. Raises ReferenceClosed, FeedStale."""
    head = {"station_id": station_id, "version": 0, "update_time": now}
    with refusing(references.refusals("schedules", "station_id", type="identity.Station", owner="identity")):
        await tx.execute(upsert(schedules).values(head).on_conflict_do_nothing())
    await tx.execute(select(schedules.c.version).where(schedules.c.station_id == station_id).with_for_update())
    return await schedule(tx, station_id)


async def schedule(tx: Transaction, station_id: UUID) -> Schedule:
    """The station's week: the default one (version 0) where it never set its own."""
    head = (await tx.execute(select(schedules).where(schedules.c.station_id == station_id))).first()
    if head is None:
        return Schedule(station_id=station_id, slots=DEFAULT_WEEK)
    columns = schedule_slots.c
    rows = await tx.execute(
        select(schedule_slots).where(columns.station_id == station_id).order_by(columns.weekday, columns.local_start)
    )
    week = tuple(
        ScheduledSlot(weekday=row.weekday, start=row.local_start, length_minutes=row.length_minutes, capacity=row.capacity)
        for row in rows
    )
    return Schedule(station_id=station_id, slots=week or DEFAULT_WEEK, version=head.version, update_time=head.update_time)


async def replace_schedule(tx: Transaction, new: Schedule) -> Schedule:
    """Replaces the week, which is locked."""
    head = update(schedules).where(schedules.c.station_id == new.station_id)
    await tx.execute(head.values(version=new.version, update_time=new.update_time))
    await tx.execute(delete(schedule_slots).where(schedule_slots.c.station_id == new.station_id))
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
        await tx.execute(insert(schedule_slots), rows)
    return new


async def lock_slot(tx: Transaction, station_id: UUID, offered: Slot) -> Slot:
    """The slot, locked until the transaction ends, with its present capacity and places. Raises ReferenceClosed, FeedStale.

    The row is made when a place is first taken; its capacity follows the schedule whenever it is locked.
    """
    found = await _locked(tx, station_id, offered.key)
    if found is None:
        row = {
            "station_id": station_id,
            "local_date": offered.key.date,
            "local_start": offered.key.start,
            "start_time": offered.start_time,
            "end_time": offered.end_time,
            "capacity": offered.capacity,
        }
        with refusing(references.refusals("slots", "station_id", type="identity.Station", owner="identity")):
            await tx.execute(upsert(slots).values(row).on_conflict_do_nothing())
        found = await _locked(tx, station_id, offered.key)
    if found is None:
        raise AssertionError("a slot was neither there nor made")
    if found.capacity != offered.capacity:
        await tx.execute(update(slots).where(*_is(station_id, offered.key)).values(capacity=offered.capacity))
    return replace(found, capacity=offered.capacity)


async def lock_slot_of_booking(tx: Transaction, station_id: UUID, key: SlotKey) -> None:
    """Locks the slot that a booking stands in, before the booking itself."""
    await _locked(tx, station_id, key)


async def slots_between(tx: Transaction, station_id: UUID, first: date, last: date) -> dict[SlotKey, Slot]:
    """The slots of those local dates that anybody ever took a place in."""
    columns = slots.c
    where = (columns.station_id == station_id, columns.local_date >= first, columns.local_date <= last)
    rows = await tx.execute(select(slots).where(*where))
    return {slot.key: slot for slot in map(_slot, rows)}


async def _locked(tx: Transaction, station_id: UUID, key: SlotKey) -> Slot | None:
    row = (await tx.execute(select(slots).where(*_is(station_id, key)).with_for_update(key_share=True))).first()
    return None if row is None else _slot(row)


def _is(station_id: UUID, key: SlotKey) -> tuple[ColumnElement[bool], ...]:
    columns = slots.c
    return columns.station_id == station_id, columns.local_date == key.date, columns.local_start == key.start


def _slot(row: Any) -> Slot:
    return Slot(
        key=SlotKey(date=row.local_date, start=row.local_start),
        start_time=row.start_time,
        end_time=row.end_time,
        capacity=row.capacity,
        taken=row.taken,
    )
