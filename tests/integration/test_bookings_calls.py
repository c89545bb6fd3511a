"""Customers, schedules, free places, bookings and their end: what each call gives, and every reason that it refuses with."""

from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from google.type.date_pb2 import Date
from google.type.timeofday_pb2 import TimeOfDay
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.bookings.v1 import customers_pb2, slots_pb2
from teppan.common.v1 import options_pb2
from teppan.identity.v1 import users_pb2

from tests.integration.stage import Teppan, booking_request, day, eventually, new, refused

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
async def station(teppan: Teppan) -> str:
    return await teppan.station()


@pytest.fixture
async def customer(teppan: Teppan, station: str) -> str:
    return await teppan.customer(station)


def customer_request(station: str, **fields: Any) -> customers_pb2.CreateCustomerRequest:
    request = customers_pb2.CreateCustomerRequest(request_id=new(), station_id=station, name="Bo", email="bo@example.com")
    request.MergeFrom(customers_pb2.CreateCustomerRequest(**fields))
    return request


def cancel(teppan: Teppan, booking: pb.Booking, **fields: Any) -> Any:
    request = pb.CancelBookingRequest(
        request_id=new(), station_id=booking.station_id, booking_id=booking.booking_id, cancelled_by=pb.CANCELLED_BY_CUSTOMER
    )
    request.MergeFrom(pb.CancelBookingRequest(**fields))
    return teppan.bookings.CancelBooking(request, metadata=teppan.member(booking.station_id))


async def read(teppan: Teppan, booking: pb.Booking) -> Any:
    request = pb.GetBookingRequest(station_id=booking.station_id, booking_id=booking.booking_id)
    return (await teppan.bookings.GetBooking(request, metadata=teppan.member(booking.station_id))).booking


def update(teppan: Teppan, station: str, *slots: tuple[int, int, int, int], **fields: Any) -> Any:
    """Sets a week of (weekday, hour, minutes, capacity)."""
    week = [
        slots_pb2.ScheduledSlot(weekday=weekday, start=TimeOfDay(hours=hour), length_minutes=minutes, capacity=capacity)
        for weekday, hour, minutes, capacity in slots
    ]
    request = slots_pb2.UpdateScheduleRequest(request_id=new(), station_id=station, slots=week, **fields)
    return teppan.slots.UpdateSchedule(request, metadata=teppan.member(station))


async def free(teppan: Teppan, station: str, first: date, last: date | None = None) -> dict[tuple[date, int], tuple[int, int]]:
    """Places left and capacity of each slot, by local date and hour."""
    last = last or first
    request = slots_pb2.SearchAvailabilityRequest(
        station_ids=[station],
        first_date=Date(year=first.year, month=first.month, day=first.day),
        last_date=Date(year=last.year, month=last.month, day=last.day),
    )
    (answer,) = [message async for message in teppan.slots.SearchAvailability(request, metadata=teppan.member(station))]
    return {
        (date(slot.date.year, slot.date.month, slot.date.day), slot.start.hours): (slot.places_left, slot.capacity)
        for slot in answer.slots
    }


async def test_a_customer_is_made_once_with_a_normal_email(teppan: Teppan, station: str) -> None:
    request, who = customer_request(station, email="Bo@Example.com", phone="+4930123456"), teppan.member(station)
    first = (await teppan.customers.CreateCustomer(request, metadata=who)).customer
    assert (first.station_id, first.name, first.email, first.phone) == (station, "Bo", "bo@example.com", "+4930123456")
    assert (first.etag, first.user_id) == ("1", "")
    assert (await teppan.customers.CreateCustomer(request, metadata=who)).customer == first
    refusal = await refused(teppan.customers.CreateCustomer(customer_request(station), metadata=who))
    assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "CUSTOMER_EMAIL_TAKEN")
    assert "bo@" not in f"{refusal.message}{refusal.metadata}"


async def test_only_that_user_or_a_platform_administrator_makes_a_customer_of_a_user(teppan: Teppan, station: str) -> None:
    request = users_pb2.CreateUserRequest(request_id=new(), name="Bo", email=f"{uuid4().hex}@example.com", password=new())
    user = (await teppan.users.CreateUser(request, metadata=teppan.admin)).user.user_id
    agent = teppan.member(station)
    refusals = [
        await refused(teppan.customers.CreateCustomer(customer_request(station, user_id=each), metadata=agent))
        for each in (user, new())
    ]
    assert {(each.code, each.reason, each.message) for each in refusals} == {
        ("PERMISSION_DENIED", "PERMISSION_DENIED", "only that user, or a platform administrator, makes a customer of a user")
    }
    themselves = teppan.bearer(subject=user, roles={UUID(station): options_pb2.ROLE_AGENT})
    for number, who in enumerate((themselves, teppan.admin)):
        wanted = customer_request(station, user_id=user, email=f"bo{number}@example.com")
        assert (await teppan.customers.CreateCustomer(wanted, metadata=who)).customer.user_id == user
    unknown = await refused(teppan.customers.CreateCustomer(customer_request(station, user_id=new()), metadata=teppan.admin))
    assert unknown.reason == "REFERENCE_NOT_FOUND"


async def test_what_is_private_is_sealed(teppan: Teppan, station: str) -> None:
    request = customer_request(station, email="secret@example.com", phone="+4930123456")
    await teppan.customers.CreateCustomer(request, metadata=teppan.member(station))
    rows = await asyncpg.connect(teppan.server.url(teppan.database))
    row = await rows.fetchrow("SELECT c::text FROM bookings.customers c WHERE station_id = $1", UUID(station))
    await rows.close()
    for private in ("secret@example.com", "+4930123456"):
        assert private not in row[0]
        assert private.encode().hex() not in row[0]


async def test_a_booking_is_priced_waits_for_its_deposit_and_is_read_as_made(teppan: Teppan, station: str, customer: str) -> None:
    request = booking_request(station, customer, requests="a window")
    request.guests.CopyFrom(pb.Guests(adults=2, children=1))
    made = (await teppan.bookings.CreateBooking(request, metadata=teppan.member(station))).booking
    assert (made.station_id, made.customer_id, made.state, made.etag) == (station, customer, pb.BOOKING_STATE_PENDING, "1")
    assert (made.total_minor, made.deposit_minor, made.paid_minor, made.currency_code) == (55_000, 10_000, 0, "EUR")
    assert {line.kind: line.amount_minor for line in made.price_lines} == {"adults": 11_000, "children": 3_000, "minimum": 41_000}
    assert (made.slot_date, made.slot_start, made.time_zone) == (request.slot_date, request.slot_start, "Europe/Berlin")
    local = made.start_time.ToDatetime(tzinfo=BERLIN)
    assert (local.date(), local.hour, made.end_time.seconds - made.start_time.seconds) == (day(), 12, 180 * 60)
    assert (made.requests, made.created_by_name, made.reference[:3], len(made.reference)) == ("a window", "Ann", "TP-", 11)
    assert await read(teppan, made) == made


async def test_a_paid_deposit_confirms_and_what_is_confirmed_can_be_cancelled(teppan: Teppan, station: str, customer: str) -> None:
    booking = await teppan.booking(station, customer)
    await teppan.pay(station, booking.booking_id, 10_000)

    async def confirmed() -> Any:
        found = await read(teppan, booking)
        assert found.state == pb.BOOKING_STATE_CONFIRMED
        return found

    found = await eventually(confirmed)
    refusal = await refused(cancel(teppan, booking, etag=booking.etag))
    assert (refusal.code, refusal.reason, refusal.metadata["etag"]) == ("ABORTED", "ETAG_STALE", found.etag)
    cancelled = (await cancel(teppan, booking, etag=found.etag)).booking
    assert (cancelled.state, cancelled.paid_minor, cancelled.refund_basis_points) == (pb.BOOKING_STATE_CANCELLED, 10_000, 10_000)


@pytest.mark.parametrize(
    ("ahead", "by", "share"),
    [
        (9, pb.CANCELLED_BY_CUSTOMER, 10_000),
        (5, pb.CANCELLED_BY_CUSTOMER, 5_000),
        (2, pb.CANCELLED_BY_CUSTOMER, 0),
        (2, pb.CANCELLED_BY_STATION, 10_000),
    ],
)
async def test_a_cancellation_gives_the_share_and_the_place_back(
    teppan: Teppan, station: str, customer: str, ahead: int, by: Any, share: int
) -> None:
    request = booking_request(station, customer, date=day(ahead), override_lead_time=True)
    booking = (await teppan.bookings.CreateBooking(request, metadata=teppan.admin)).booking
    assert (await free(teppan, station, day(ahead)))[day(ahead), 12] == (1 if ahead > 2 else 0, 2)
    priced = (await cancel(teppan, booking, cancelled_by=by, validate_only=True)).booking
    assert (priced.state, priced.refund_basis_points) == (pb.BOOKING_STATE_CANCELLED, share)
    assert await read(teppan, booking) == booking
    cancelled = (await cancel(teppan, booking, cancelled_by=by)).booking
    assert (cancelled.cancelled_by, cancelled.refund_basis_points, cancelled.etag) == (by, share, "2")
    assert cancelled.price_lines == booking.price_lines
    assert await read(teppan, booking) == cancelled
    assert (await free(teppan, station, day(ahead)))[day(ahead), 12] == (2 if ahead > 2 else 0, 2)
    refusal = await refused(cancel(teppan, booking))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "BOOKING_STATE")
    assert (refusal.metadata["from"], refusal.metadata["to"]) == ("CANCELLED", "CANCELLED")


async def test_a_booking_that_is_only_checked_has_no_effect(teppan: Teppan, station: str, customer: str) -> None:
    request, who = booking_request(station, customer, validate_only=True), teppan.member(station)
    checked = (await teppan.bookings.CreateBooking(request, metadata=who)).booking
    assert (checked.booking_id, checked.total_minor) == ("", 55_000)
    assert (await free(teppan, station, day()))[day(), 12] == (2, 2)
    for _ in range(2):
        await teppan.booking(station, customer)
    refusal = await refused(teppan.bookings.CreateBooking(request, metadata=who))
    assert (refusal.reason, refusal.metadata["capacity"]) == ("SLOT_FULL", "2")
    rows = await asyncpg.connect(teppan.server.url(teppan.database))
    assert await rows.fetchval("SELECT count(*) FROM bookings.requests WHERE request_id = $1", UUID(request.request_id)) == 0
    await rows.close()


@pytest.mark.parametrize("validate_only", [False, True])
async def test_every_rule_refuses_by_its_reason(teppan: Teppan, station: str, customer: str, *, validate_only: bool) -> None:
    who = teppan.member(station)

    async def reason(customer_id: str = customer, **fields: Any) -> tuple[str, str, dict[str, str]]:
        request = booking_request(station, customer_id, validate_only=validate_only, **fields)
        refusal = await refused(teppan.bookings.CreateBooking(request, metadata=who))
        return refusal.code, refusal.reason, {name: refusal.metadata[name] for name in refusal.metadata if name != "call_id"}

    for code, name, figures, fields in (
        ("FAILED_PRECONDITION", "LEAD_TIME", {"lead_hours": "48"}, {"date": day(1)}),
        ("FAILED_PRECONDITION", "TOO_FAR_AHEAD", {"days": "365"}, {"date": day(367)}),
        (
            "FAILED_PRECONDITION", "SLOT_NOT_OFFERED", {"date": day().isoformat(), "start": "12:01"},
            {"slot_start": TimeOfDay(hours=12, minutes=1)},
        ),
        ("NOT_FOUND", "CUSTOMER_NOT_FOUND", {}, {"customer_id": new()}),
    ):  # fmt: skip
        answer = await reason(**fields)
        assert answer[:2] == (code, name)
        assert figures.items() <= answer[2].items()
    missing = pb.Booking(station_id=station, booking_id=new())
    refusal = await refused(cancel(teppan, missing, validate_only=validate_only))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "BOOKING_NOT_FOUND")


async def test_only_a_platform_administrator_books_within_the_lead_time(teppan: Teppan, station: str, customer: str) -> None:
    request = booking_request(station, customer, date=day(1), override_lead_time=True)
    for role in (options_pb2.ROLE_AGENT, options_pb2.ROLE_ADMIN):
        refusal = await refused(teppan.bookings.CreateBooking(request, metadata=teppan.member(station, role)))
        assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
    assert (await teppan.bookings.CreateBooking(request, metadata=teppan.admin)).booking.state == pb.BOOKING_STATE_PENDING


async def test_a_schedule_is_replaced_and_an_empty_one_is_the_default_week(teppan: Teppan, station: str, customer: str) -> None:
    first = (await update(teppan, station, (1, 9, 60, 3), (2, 9, 60, 0))).schedule
    assert ([(slot.weekday, slot.start.hours, slot.capacity) for slot in first.slots], first.etag) == ([(1, 9, 3), (2, 9, 0)], "1")
    monday = day() + timedelta(days=-day().weekday() % 7)
    week = await free(teppan, station, monday, monday + timedelta(days=6))
    assert week == {(monday, 9): (3, 3), (monday + timedelta(days=1), 9): (0, 0)}
    refusal = await refused(update(teppan, station, etag="7"))
    assert (refusal.code, refusal.reason, refusal.metadata["etag"]) == ("ABORTED", "ETAG_STALE", "1")
    again = (await update(teppan, station, etag="1")).schedule
    assert (len(again.slots), again.etag) == (28, "2")
    assert await free(teppan, station, monday) == {(monday, hour): (2, 2) for hour in (12, 15, 18, 21)}


async def test_a_capacity_below_what_is_booked_sells_nothing_more(teppan: Teppan, station: str, customer: str) -> None:
    booked = [await teppan.booking(station, customer) for _ in range(2)]
    weekday = day().isoweekday()
    await update(teppan, station, (weekday, 12, 180, 1))
    request, who = booking_request(station, customer), teppan.member(station)
    refusal = await refused(teppan.bookings.CreateBooking(request, metadata=who))
    assert (refusal.reason, refusal.metadata["capacity"]) == ("SLOT_FULL", "1")
    await cancel(teppan, booked[0])  # one is left, and one is all there is
    request.request_id = new()
    assert (await refused(teppan.bookings.CreateBooking(request, metadata=who))).reason == "SLOT_FULL"
    assert (await free(teppan, station, day()))[day(), 12] == (0, 1)
    await update(teppan, station, (weekday, 12, 180, 3))
    assert [(await teppan.booking(station, customer)).state for _ in range(2)] == [pb.BOOKING_STATE_PENDING] * 2


async def test_overlapping_slots_are_refused_and_nothing_changes(teppan: Teppan, station: str) -> None:
    refusal = await refused(update(teppan, station, (7, 23, 61, 1), (1, 0, 60, 1)))
    assert (refusal.code, refusal.reason, refusal.metadata["weekday"]) == ("INVALID_ARGUMENT", "SLOTS_OVERLAP", "Sunday")
    assert list(refusal.fields) == ["slots"]
    assert (await update(teppan, station)).schedule.etag == "1"


async def test_there_is_no_slot_in_the_hour_that_the_clock_skips(teppan: Teppan) -> None:
    days = [day(4) + timedelta(days=n) for n in range(356)]
    zone, spring = next((zone, at) for zone in ("Europe/Berlin", "America/New_York") for at in days if skips(ZoneInfo(zone), at))
    station = await teppan.station(time_zone=zone)
    customer = await teppan.customer(station)
    await teppan.week(station, slots_a_day=24, capacity=1)
    assert [hour for _, hour in await free(teppan, station, spring)] == [hour for hour in range(24) if hour != 2]
    request, who = booking_request(station, customer, date=spring), teppan.member(station)
    request.slot_start.hours = 2
    assert (await refused(teppan.bookings.CreateBooking(request, metadata=who))).reason == "SLOT_NOT_OFFERED"
    request.slot_start.hours, request.request_id = 3, new()
    made = (await teppan.bookings.CreateBooking(request, metadata=who)).booking
    assert made.start_time.ToDatetime(tzinfo=ZoneInfo(zone)).hour == 3


def skips(zone: ZoneInfo, at: date) -> bool:
    """Whether that date's hour from 02:00 is skipped."""
    before, after = (datetime.combine(at, time(hour), zone).utcoffset() for hour in (1, 4))
    return before is not None and after is not None and after > before


async def test_dates_at_the_ends_of_time_have_no_slots_there(teppan: Teppan, station: str) -> None:
    await teppan.week(station, slots_a_day=24, capacity=1)
    assert 20 < len(await free(teppan, station, date(1, 1, 1))) < 24
    assert len(await free(teppan, station, date(9999, 12, 31))) == 23  # the last one would end in the year 10000


async def test_a_search_gives_each_station_in_turn(teppan: Teppan, station: str) -> None:
    other = await teppan.station(time_zone="Asia/Tokyo", currency_code="JPY")
    at = Date(year=day().year, month=day().month, day=day().day)
    request = slots_pb2.SearchAvailabilityRequest(station_ids=[other, station], first_date=at, last_date=at)
    answers = [message async for message in teppan.slots.SearchAvailability(request, metadata=teppan.admin)]
    assert [(answer.station_id, answer.time_zone) for answer in answers] == [(other, "Asia/Tokyo"), (station, "Europe/Berlin")]
    assert answers[0].slots[0].start_time.ToDatetime().hour == 3
