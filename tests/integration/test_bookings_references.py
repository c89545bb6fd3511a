"""A booking refers only to a station that its owner knows and has in use, whoever of the two is away."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.bookings.v1 import customers_pb2, slots_pb2
from teppan.identity.v1 import stations_pb2

from bookings.store import slots
from dbcommon.references import Known
from tests.integration.stage import Metadata, Refusal, Teppan, booking_request, eventually, new, refused

TABLES = ("bookings", "customers", "slots", "schedules", "price_lines")
"""What a write leaves behind, beside the request that was refused."""


@pytest.fixture
async def station(teppan: Teppan) -> str:
    return await teppan.station()


@pytest.fixture
async def rows(teppan: Teppan) -> AsyncIterator[asyncpg.Connection]:
    """Sees everything."""
    connection = await asyncpg.connect(teppan.server.url(teppan.database))
    yield connection
    await connection.close()


def create(teppan: Teppan, request: pb.CreateBookingRequest, who: Metadata) -> Any:
    return teppan.bookings.CreateBooking(request, metadata=who)


async def suspend(teppan: Teppan, station: str) -> None:
    request = stations_pb2.SuspendStationRequest(request_id=new(), station_id=station)
    await teppan.stations.SuspendStation(request, metadata=teppan.admin)


async def left_by(rows: asyncpg.Connection, station: str) -> dict[str, int]:
    """How many rows a station has, table by table."""
    counts = {}
    for table in TABLES:
        counts[table] = await rows.fetchval(f"SELECT count(*) FROM bookings.{table} WHERE station_id = $1", UUID(station))
    return counts


async def known(rows: asyncpg.Connection, station: str) -> Any:
    """The state of the station's known row; None where there is none."""
    return await rows.fetchval("SELECT state FROM bookings.known_stations WHERE id = $1", UUID(station))


def about_the_station(refusal: Refusal) -> tuple[str, str, str, str]:
    return refusal.code, refusal.reason, refusal.metadata["field"], refusal.metadata["type"]


def writes(station: str, customer: str) -> dict[str, Any]:
    """Every write of bookings that refers to a station, by method."""
    return {
        "bookings.CreateBooking": booking_request(station, customer),
        "customers.CreateCustomer": customers_pb2.CreateCustomerRequest(
            request_id=new(), station_id=station, name="Bo", email="bo@example.com"
        ),
        "slots.UpdateSchedule": slots_pb2.UpdateScheduleRequest(request_id=new(), station_id=station),
    }


def call(teppan: Teppan, method: str, request: Any, who: Metadata) -> Any:
    service, name = method.split(".")
    return getattr(getattr(teppan, service), name)(request, metadata=who)


NONE_LEFT = dict.fromkeys(TABLES, 0)


@pytest.mark.parametrize("method", writes(new(), new()))
async def test_a_station_that_there_is_not_is_refused_and_nothing_is_written(
    teppan: Teppan, rows: asyncpg.Connection, method: str
) -> None:
    station = new()
    refusal = await refused(call(teppan, method, writes(station, new())[method], teppan.admin))
    assert about_the_station(refusal) == ("NOT_FOUND", "REFERENCE_NOT_FOUND", "station_id", "identity.Station")
    assert await left_by(rows, station) == NONE_LEFT
    assert await known(rows, station) is None


async def test_availability_of_a_station_that_there_is_not_is_refused_before_anything_is_sent(teppan: Teppan, station: str) -> None:
    request = slots_pb2.SearchAvailabilityRequest(station_ids=[station, new()])
    for date in (request.first_date, request.last_date):
        date.year, date.month, date.day = 2026, 6, 1
    refusal = await refused(teppan.slots.SearchAvailability(request, metadata=teppan.admin))
    assert about_the_station(refusal) == ("NOT_FOUND", "REFERENCE_NOT_FOUND", "station_id", "identity.Station")


async def test_a_reference_that_was_refused_can_be_made_once_it_is_there(teppan: Teppan) -> None:
    request = customers_pb2.CreateCustomerRequest(request_id=new(), name="Bo", email="bo@example.com", station_id=new())
    admin = teppan.admin
    assert (await refused(teppan.customers.CreateCustomer(request, metadata=admin))).reason == "REFERENCE_NOT_FOUND"
    request.station_id = await teppan.station()
    assert (await teppan.customers.CreateCustomer(request, metadata=admin)).customer.station_id == request.station_id


async def test_a_user_that_there_is_not_is_no_login_of_a_customer(teppan: Teppan, station: str, rows: asyncpg.Connection) -> None:
    request = customers_pb2.CreateCustomerRequest(
        request_id=new(), station_id=station, name="Bo", email="bo@example.com", user_id=new()
    )
    refusal = await refused(teppan.customers.CreateCustomer(request, metadata=teppan.admin))
    assert about_the_station(refusal) == ("NOT_FOUND", "REFERENCE_NOT_FOUND", "user_id", "identity.User")
    assert await left_by(rows, station) == NONE_LEFT


@pytest.mark.parametrize("method", writes(new(), new()))
async def test_a_station_that_is_suspended_is_refused_once_the_feed_has_said_so(
    teppan: Teppan, station: str, rows: asyncpg.Connection, method: str
) -> None:
    customer = await teppan.customer(station)
    await teppan.booking(station, customer)
    assert await known(rows, station) == Known.OPEN
    await suspend(teppan, station)

    async def closed() -> None:
        assert await known(rows, station) == Known.CLOSED

    await eventually(closed)
    before = await left_by(rows, station)
    refusal = await refused(call(teppan, method, writes(station, customer)[method], teppan.member(station)))
    assert about_the_station(refusal) == ("FAILED_PRECONDITION", "REFERENCE_CLOSED", "station_id", "identity.Station")
    assert await left_by(rows, station) == before


@pytest.mark.parametrize("method", writes(new(), new()))
async def test_a_suspended_station_that_was_never_known_here_is_refused(
    teppan: Teppan, station: str, rows: asyncpg.Connection, method: str
) -> None:
    await suspend(teppan, station)
    for _ in range(2):  # by the answer of identity or by its feed; then by the row
        refusal = await refused(call(teppan, method, writes(station, new())[method], teppan.member(station)))
        assert about_the_station(refusal) == ("FAILED_PRECONDITION", "REFERENCE_CLOSED", "station_id", "identity.Station")
    assert await left_by(rows, station) == NONE_LEFT

    async def marked() -> None:  # by the feed alone: a refusing answer is not stored
        assert await known(rows, station) == Known.CLOSED

    await eventually(marked)


async def test_the_database_refuses_too_where_the_code_does_not_look(
    teppan: Teppan, station: str, rows: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer, read = await teppan.customer(station), slots.station
    await teppan.booking(station, customer)
    monkeypatch.setattr(slots, "station", lambda tx, station_id, **_: read(tx, station_id))
    await rows.execute("UPDATE bookings.known_stations SET state = 2 WHERE id = $1", UUID(station))
    before = await left_by(rows, station)
    refusal = await refused(create(teppan, booking_request(station, customer), teppan.member(station)))
    assert about_the_station(refusal) == ("FAILED_PRECONDITION", "REFERENCE_CLOSED", "station_id", "identity.Station")
    assert await left_by(rows, station) == before


async def test_a_check_without_effect_hears_of_a_suspended_station_too(teppan: Teppan, station: str) -> None:
    request = booking_request(station, await teppan.customer(station), validate_only=True)
    assert (await create(teppan, request, teppan.member(station))).booking.total_minor
    await suspend(teppan, station)

    async def refuses() -> None:
        refusal = await refused(create(teppan, request, teppan.member(station)))
        assert about_the_station(refusal) == ("FAILED_PRECONDITION", "REFERENCE_CLOSED", "station_id", "identity.Station")

    await eventually(refuses)


async def test_a_suspended_stations_bookings_are_read_and_cancelled_on(
    teppan: Teppan, station: str, rows: asyncpg.Connection
) -> None:
    booking = await teppan.booking(station, await teppan.customer(station))
    await suspend(teppan, station)

    async def closed() -> None:
        assert await known(rows, station) == Known.CLOSED

    await eventually(closed)
    who, id = teppan.member(station), booking.booking_id
    assert (
        await teppan.bookings.GetBooking(pb.GetBookingRequest(station_id=station, booking_id=id), metadata=who)
    ).booking == booking
    cancel = pb.CancelBookingRequest(request_id=new(), station_id=station, booking_id=id, cancelled_by=pb.CANCELLED_BY_STATION)
    assert (await teppan.bookings.CancelBooking(cancel, metadata=who)).booking.state == pb.BOOKING_STATE_CANCELLED


@pytest.mark.parametrize("method", writes(new(), new()))
async def test_a_member_cannot_tell_a_foreign_station_from_none(
    teppan: Teppan, station: str, rows: asyncpg.Connection, method: str
) -> None:
    foreign = await teppan.station()
    who = teppan.member(station)
    answers = [await refused(call(teppan, method, writes(id, new())[method], who)) for id in (foreign, new())]
    for refusal in answers:
        assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
        assert set(refusal.metadata) == set(answers[0].metadata)
    assert answers[0].message == answers[1].message
    assert await left_by(rows, foreign) == NONE_LEFT
    assert await known(rows, foreign) is None  # nobody was asked


async def test_without_identity_only_what_was_never_checked_has_to_wait(own: Teppan) -> None:
    station, unknown = await own.station(), await own.station()
    customer = await own.customer(station)
    await own.stop("identity")
    requests = [
        customers_pb2.CreateCustomerRequest(request_id=new(), station_id=unknown, name="Bo", email="bo@example.com"),
        booking_request(unknown, new()),
    ]
    admin, started = own.admin, time.monotonic()
    for method, request in zip(("customers.CreateCustomer", "bookings.CreateBooking"), requests, strict=True):
        began = time.monotonic()
        refusal = await refused(call(own, method, request, admin))
        assert (refusal.code, refusal.reason, refusal.metadata["peer"]) == ("UNAVAILABLE", "PEER_UNAVAILABLE", "identity")
        assert refusal.retry_seconds
        assert time.monotonic() - began < 3
    assert (await own.booking(station, customer)).state == pb.BOOKING_STATE_PENDING
    assert time.monotonic() - started < 20  # well before the feed is stale
    rows = await asyncpg.connect(own.server.url(own.database))
    assert await left_by(rows, unknown) == NONE_LEFT
    assert await rows.fetchval("SELECT count(*) FROM bookings.requests WHERE station_id = $1", UUID(unknown)) == 0
    await rows.close()
    await own.start("identity")
    made = await eventually(lambda: own.customers.CreateCustomer(requests[0], metadata=admin))
    assert made.customer.station_id == unknown


async def test_after_too_long_without_identity_everything_waits_until_it_is_back(
    own: Teppan, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = await own.station()
    customer = await own.customer(station)
    booking = await own.booking(station, customer)
    rows = await asyncpg.connect(own.server.url(own.database))
    before = await left_by(rows, station)
    await own.stop("identity")
    monkeypatch.setattr("dbcommon.inbox.STALE_SECONDS", 1)
    who, get = own.member(station), pb.GetBookingRequest(station_id=station, booking_id=booking.booking_id)

    async def stale() -> None:
        refusal = await refused(own.bookings.GetBooking(get, metadata=who))
        assert refusal.reason == "FEED_STALE"

    await eventually(stale)
    for method, request in (
        ("bookings.CreateBooking", booking_request(station, customer)),
        ("bookings.GetBooking", get),
        ("bookings.ListBookings", pb.ListBookingsRequest(station_id=station)),
    ):
        refusal = await refused(call(own, method, request, who))
        assert (refusal.code, refusal.reason, refusal.metadata["feed"]) == ("UNAVAILABLE", "FEED_STALE", "identity")
        assert refusal.retry_seconds
    assert await left_by(rows, station) == before
    await rows.close()
    monkeypatch.undo()  # identity's events are at most 2 s apart: with 1 s it would be stale in between
    await own.start("identity")
    assert (await eventually(lambda: own.booking(station, customer))).state == pb.BOOKING_STATE_PENDING


async def test_a_booking_and_a_suspension_at_once_leave_no_booking_after_the_close(
    teppan: Teppan, station: str, rows: asyncpg.Connection
) -> None:
    await teppan.week(station, slots_a_day=1, capacity=1_000)
    customer, who, refusals = await teppan.customer(station), teppan.member(station), 0

    async def book_until_refused() -> None:
        nonlocal refusals
        request = booking_request(station, customer)
        request.slot_start.hours = 0
        for _ in range(500):
            request.request_id = new()
            try:
                await create(teppan, request, who)
            except Exception:  # noqa: BLE001  # looked at in the next line
                refusal = await refused(create(teppan, request, who))
                assert refusal.reason == "REFERENCE_CLOSED"
                refusals += 1
                return

    booking = [asyncio.create_task(book_until_refused()) for _ in range(4)]
    await suspend(teppan, station)

    async def closed() -> int:
        assert await known(rows, station) == Known.CLOSED
        return int(await rows.fetchval("SELECT count(*) FROM bookings.bookings WHERE station_id = $1", UUID(station)))

    at_close = await eventually(closed)
    await asyncio.gather(*booking)
    assert refusals == len(booking)
    assert await rows.fetchval("SELECT count(*) FROM bookings.bookings WHERE station_id = $1", UUID(station)) == at_close
