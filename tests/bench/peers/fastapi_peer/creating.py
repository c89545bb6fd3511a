"""Takes a place in a slot: the work and the checks of Teppan's CreateBooking, as the ORM says them."""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from fastapi import HTTPException
from schemas import BookingIn, BookingOut
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from tables import Booking, Customer, Outbox, PriceLine, Request, ScheduleSlot, Slot, Station

OPEN, PENDING = 1, 2
ADULT_MINOR, CHILD_MINOR, FOOD_MINIMUM_MINOR, DEPOSIT_MINOR = 5_500, 3_000, 55_000, 10_000
LEAD_TIME, HORIZON, PATIENCE = timedelta(hours=48), timedelta(days=365), timedelta(hours=24)
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
GUESTS_MAX = 50
CALLER = "user:"


async def create(session: AsyncSession, wanted: BookingIn) -> Booking | UUID:
    """Makes a booking in the session's transaction; where the request made one before, returns the ID of that."""
    booking_id = uuid4()
    if (made := await _made_before(session, wanted, booking_id)) is not None:
        return made
    station = await session.get(Station, wanted.station_id)
    if station is None or station.state != OPEN:
        raise HTTPException(409, "the station is not in use")
    slot = await _offered(session, wanted, station)
    now = datetime.now(UTC)
    if not LEAD_TIME <= slot.start_time - now <= HORIZON:
        raise HTTPException(409, "a booking is made 48 hours to 365 days before its start")
    if await session.get(Customer, (wanted.station_id, wanted.customer_id)) is None:
        raise HTTPException(404, "there is no such customer in this station")
    locked = await _locked(session, slot)
    if locked.taken >= locked.capacity:
        raise HTTPException(409, "the slot is full")
    booking = _booking(wanted, booking_id, slot, station, now)
    session.add(booking)
    await session.flush()
    session.add(_event(booking))
    return booking


async def _made_before(session: AsyncSession, wanted: BookingIn, booking_id: UUID) -> UUID | None:
    key = {"station_id": wanted.station_id, "caller": CALLER, "method": "CreateBooking", "request_id": wanted.request_id}
    fingerprint = hashlib.sha256(wanted.model_dump_json().encode()).digest()
    values = {**key, "fingerprint": fingerprint, "made_id": booking_id}
    statement = insert(Request).values(**values).on_conflict_do_nothing().returning(Request.request_id)
    if (await session.execute(statement)).first() is not None:
        return None
    request = await session.get_one(Request, tuple(key.values()))
    if request.fingerprint != fingerprint:
        raise HTTPException(400, "request_id: it was used for another request; send a new one")
    return request.made_id


async def _offered(session: AsyncSession, wanted: BookingIn, station: Station) -> Slot:
    which = (
        ScheduleSlot.station_id == wanted.station_id,
        ScheduleSlot.weekday == wanted.slot_date.isoweekday(),
        ScheduleSlot.local_start == wanted.slot_start,
    )
    scheduled = await session.scalar(select(ScheduleSlot).where(*which))
    if scheduled is None:
        raise HTTPException(409, "the station has no such slot")
    start = datetime.combine(wanted.slot_date, wanted.slot_start, ZoneInfo(station.time_zone)).astimezone(UTC)
    return Slot(
        station_id=wanted.station_id, local_date=wanted.slot_date, local_start=wanted.slot_start, start_time=start,
        end_time=start + timedelta(minutes=scheduled.length_minutes), capacity=scheduled.capacity, taken=0,
    )  # fmt: skip


async def _locked(session: AsyncSession, offered: Slot) -> Slot:
    key = (Slot.station_id == offered.station_id, Slot.local_date == offered.local_date, Slot.local_start == offered.local_start)
    statement = select(Slot).where(*key).with_for_update(key_share=True)
    found = await session.scalar(statement)
    if found is None:
        names = ("station_id", "local_date", "local_start", "start_time", "end_time", "capacity")
        values = {name: getattr(offered, name) for name in names}
        await session.execute(insert(Slot).values(**values).on_conflict_do_nothing())
        found = (await session.scalars(statement)).one()
    if found.capacity != offered.capacity:
        found.capacity = offered.capacity
    return found


def _booking(wanted: BookingIn, booking_id: UUID, slot: Slot, station: Station, now: datetime) -> Booking:
    lines = _lines(wanted)
    total = sum(line.amount_minor for line in lines)
    return Booking(
        station_id=wanted.station_id, id=booking_id, reference="TP-" + "".join(secrets.choice(ALPHABET) for _ in range(8)),
        customer_id=wanted.customer_id, state=PENDING, slot_date=wanted.slot_date, slot_start=wanted.slot_start,
        start_time=slot.start_time, end_time=slot.end_time, time_zone=station.time_zone, adults=wanted.adults,
        children=wanted.children, infants=wanted.infants, currency_code=station.currency_code, total_minor=total,
        deposit_minor=min(DEPOSIT_MINOR, total), paid_minor=0, policy_version=1, requests=wanted.requests,
        deposit_deadline_time=min(now + PATIENCE, slot.start_time - LEAD_TIME), created_by=None, created_by_name="Bench",
        version=1, create_time=now, update_time=now, price_lines=lines,
    )  # fmt: skip


def _lines(wanted: BookingIn) -> list[PriceLine]:
    if not 1 <= wanted.adults + wanted.children + wanted.infants <= GUESTS_MAX:
        raise HTTPException(422, "1 to 50 guests")
    counted = [("adults", wanted.adults, ADULT_MINOR), ("children", wanted.children, CHILD_MINOR), ("infants", wanted.infants, 0)]
    food = sum(quantity * unit for _, quantity, unit in counted)
    counted.append(("minimum", int(food < FOOD_MINIMUM_MINOR), FOOD_MINIMUM_MINOR - food))
    kept = [each for each in counted if each[1]]
    return [
        PriceLine(line=number, kind=kind, quantity=quantity, unit_minor=unit, amount_minor=quantity * unit)
        for number, (kind, quantity, unit) in enumerate(kept)
    ]


def _event(booking: Booking) -> Outbox:
    """Its payload is JSON: who consumes Teppan's events would not understand it, and it costs about the same to write."""
    payload = BookingOut.model_validate(booking).model_dump_json().encode()
    return Outbox(
        event_id=uuid4(), type="bookings.Booking", entity_id=booking.id, station_id=booking.station_id, version=1, referent_state=1,
        payload=payload,
    )  # fmt: skip
