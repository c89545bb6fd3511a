"""What is not well formed is refused with every bad field at once, and never as a fault of ours."""

from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.timeofday_pb2 import TimeOfDay
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.bookings.v1 import customers_pb2, slots_pb2

from tests.integration.stage import Teppan, booking_request, new, refused

LATE = TimeOfDay(hours=24)
SERVICE_OF = {"CreateCustomer": "customers", "UpdateSchedule": "slots", "SearchAvailability": "slots"}


@pytest.fixture
async def station(teppan: Teppan) -> str:
    return await teppan.station()


def call(teppan: Teppan, method: str, request: Any, station: str) -> Any:
    service = getattr(teppan, SERVICE_OF.get(method, "bookings"))
    return getattr(service, method)(request, metadata=teppan.member(station))


def slot(**fields: Any) -> slots_pb2.ScheduledSlot:
    made = slots_pb2.ScheduledSlot(weekday=1, start=TimeOfDay(hours=9), length_minutes=60, capacity=1)
    made.MergeFrom(slots_pb2.ScheduledSlot(**fields))
    return made


WRONG: list[tuple[str, Message, set[str]]] = [
    (
        "CreateCustomer",
        customers_pb2.CreateCustomerRequest(request_id="1", email="bo", phone="030", user_id="x"),
        {"request_id", "name", "email", "phone", "user_id"},
    ),
    ("CreateCustomer", customers_pb2.CreateCustomerRequest(name="x" * 201), {"request_id", "name", "email"}),
    (
        "UpdateSchedule",
        slots_pb2.UpdateScheduleRequest(
            request_id="1",
            slots=[
                slots_pb2.ScheduledSlot(),
                slot(),
                slots_pb2.ScheduledSlot(weekday=8, start=LATE, length_minutes=1_441, capacity=1_001),
            ],
            etag="x" * 101,
        ),
        {"request_id", "etag", "slots[0].weekday", "slots[0].start", "slots[0].length_minutes"}
        | {f"slots[2].{name}" for name in ("weekday", "length_minutes", "capacity")},
    ),
    ("UpdateSchedule", slots_pb2.UpdateScheduleRequest(request_id=new(), slots=[slot()] * 701), {"slots"}),
    (
        "CreateBooking",
        pb.CreateBookingRequest(request_id="1", customer_id="2", requests="x" * 501),
        {"request_id", "customer_id", "slot_date", "slot_start", "guests", "requests"},
    ),
    (
        "CreateBooking",
        pb.CreateBookingRequest(guests=pb.Guests(adults=-1, children=51)),
        {"request_id", "customer_id", "slot_date", "slot_start", "guests.adults", "guests.children"},
    ),
    ("GetBooking", pb.GetBookingRequest(booking_id="2"), {"booking_id"}),
    (
        "CancelBooking",
        pb.CancelBookingRequest(request_id="1", booking_id="2", etag="x" * 101),
        {"request_id", "booking_id", "cancelled_by", "etag"},
    ),
    ("SearchAvailability", slots_pb2.SearchAvailabilityRequest(), {"first_date", "last_date"}),
]


@pytest.mark.parametrize(("method", "request_", "fields"), WRONG)
async def test_every_bad_field_is_named_at_once(teppan: Teppan, station: str, method: str, request_: Any, fields: set[str]) -> None:
    request = type(request_)()
    request.CopyFrom(request_)
    if method == "SearchAvailability":
        request.station_ids.append(station)
    else:
        request.station_id = station
    refusal = await refused(call(teppan, method, request, station))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "FIELDS_INVALID")
    assert fields <= set(refusal.fields)
    assert set(refusal.fields) - fields <= {"guests"}  # the sum of guests is a rule of its own


async def test_a_station_that_is_no_id_is_named_where_the_rest_is_good(teppan: Teppan, station: str) -> None:
    refusal = await refused(call(teppan, "CreateBooking", booking_request("here", new()), station))
    assert (refusal.code, list(refusal.fields)) == ("INVALID_ARGUMENT", ["station_id"])


@pytest.mark.parametrize("guests", [{}, {"adults": 50, "infants": 1}])
async def test_there_are_one_to_fifty_guests(teppan: Teppan, station: str, guests: dict[str, int]) -> None:
    request = booking_request(station, new())
    request.guests.CopyFrom(pb.Guests(**guests))
    refusal = await refused(call(teppan, "CreateBooking", request, station))
    assert (refusal.code, list(refusal.fields)) == ("INVALID_ARGUMENT", ["guests"])


NO_DATES = [
    Date(),
    Date(year=2027, month=2, day=29),
    Date(year=10_000, month=1, day=1),
    Date(year=2027),
    Date(year=-1, month=1, day=1),
]
NO_TIMES = [LATE, TimeOfDay(seconds=1), TimeOfDay(nanos=1), TimeOfDay(minutes=60), TimeOfDay(hours=-1)]


@pytest.mark.parametrize(
    ("field", "value"), [*(("slot_date", value) for value in NO_DATES), *(("slot_start", value) for value in NO_TIMES)]
)
async def test_a_date_or_a_time_that_there_is_not_is_named(teppan: Teppan, station: str, field: str, value: Message) -> None:
    request = booking_request(station, new())
    getattr(request, field).CopyFrom(value)
    refusal = await refused(call(teppan, "CreateBooking", request, station))
    assert (refusal.code, refusal.reason, list(refusal.fields)) == ("INVALID_ARGUMENT", "FIELDS_INVALID", [field])


async def test_a_date_and_a_time_that_there_are_not_are_named_together(teppan: Teppan, station: str) -> None:
    request = booking_request(station, new(), slot_start=TimeOfDay(hours=12))
    request.slot_date.month = 13
    assert request.slot_start.hours == 12
    request.slot_start.hours = 24
    refusal = await refused(call(teppan, "CreateBooking", request, station))
    assert set(refusal.fields) == {"slot_date", "slot_start"}


async def test_every_slot_that_starts_at_no_minute_is_named(teppan: Teppan, station: str) -> None:
    slots = [slot(start=TimeOfDay(seconds=1)), slot(), slot(start=TimeOfDay(hours=20))]
    request = slots_pb2.UpdateScheduleRequest(request_id=new(), station_id=station, slots=slots)
    request.slots[2].start.hours = 24
    refusal = await refused(call(teppan, "UpdateSchedule", request, station))
    assert set(refusal.fields) == {"slots[0].start", "slots[2].start"}


@pytest.mark.parametrize(
    "last", [Date(year=2026, month=5, day=31), Date(year=2026, month=7, day=2), Date(year=2026, month=6, day=31)]
)
async def test_a_search_has_one_to_31_days(teppan: Teppan, station: str, last: Date) -> None:
    request = slots_pb2.SearchAvailabilityRequest(
        station_ids=[station], first_date=Date(year=2026, month=6, day=1), last_date=last
    )  # fmt: skip
    refusal = await refused(call(teppan, "SearchAvailability", request, station))
    assert (refusal.code, list(refusal.fields)) == ("INVALID_ARGUMENT", ["last_date"])
    request.last_date.month, request.last_date.day = 7, 1
    (answer,) = [message async for message in call(teppan, "SearchAvailability", request, station)]
    assert len(answer.slots) == 31 * 4


async def test_a_search_has_one_to_twenty_stations_each_once(teppan: Teppan, station: str) -> None:
    day = Date(year=2026, month=6, day=1)
    for stations in ([], [station] * 2, [new() for _ in range(21)]):
        request = slots_pb2.SearchAvailabilityRequest(station_ids=stations, first_date=day, last_date=day)
        refusal = await refused(teppan.slots.SearchAvailability(request, metadata=teppan.admin))
        assert (refusal.code, list(refusal.fields)) == ("INVALID_ARGUMENT", ["station_ids"])


async def test_two_times_that_there_are_not_are_named_together(teppan: Teppan, station: str) -> None:
    never = Timestamp(seconds=2**40)
    request = pb.ListBookingsRequest(station_id=station, start_time_from=never, start_time_before=never)
    refusal = await refused(call(teppan, "ListBookings", request, station))
    assert set(refusal.fields) == {"start_time_from", "start_time_before"}


@pytest.mark.parametrize("method", ["CreateCustomer", "CreateBooking"])
async def test_text_that_the_database_cannot_keep_is_the_callers_mistake(teppan: Teppan, station: str, method: str) -> None:
    if method == "CreateCustomer":
        request: Any = customers_pb2.CreateCustomerRequest(request_id=new(), station_id=station, name="B\0", email="b@example.com")
    else:
        request = booking_request(station, await teppan.customer(station), requests="a\0b")
    refusal = await refused(call(teppan, method, request, station))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "FIELDS_INVALID")
    assert list(refusal.fields) == [{"CreateCustomer": "name", "CreateBooking": "requests"}[method]]
