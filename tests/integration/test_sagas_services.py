"""Sagas among the running services: what ends by itself, what a suspended station stops and what not, and what operators see."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.payments.v1 import payments_pb2

from bookings.store import sagas as bookings_sagas
from dbcommon.database import Database
from dbcommon.sagas import Sagas
from tests.integration.stage import Teppan, booking_request, eventually, new, refused
from tests.integration.unfinished import sagas

LITTLE = 600


@pytest.fixture
async def rows(teppan: Teppan) -> AsyncIterator[asyncpg.Connection]:
    """Sees everything."""
    connection = await asyncpg.connect(teppan.server.url(teppan.database))
    yield connection
    await connection.close()


async def overdue(rows: asyncpg.Connection, booking_id: str) -> None:
    """Its deadline was a moment ago."""
    await rows.execute("UPDATE bookings.bookings SET deposit_deadline_time = now() WHERE id = $1", UUID(booking_id))


async def became(teppan: Teppan, booking: pb.Booking, state: int) -> pb.Booking:
    """The booking, once it is in that state."""
    request = pb.GetBookingRequest(station_id=booking.station_id, booking_id=booking.booking_id)

    async def there() -> pb.Booking:
        found: pb.Booking = (await teppan.bookings.GetBooking(request, metadata=teppan.member(booking.station_id))).booking
        assert found.state == state
        return found

    return await eventually(there)  # type: ignore[no-any-return]  # what `there` gives


async def cancel(teppan: Teppan, booking: pb.Booking) -> None:
    request = pb.CancelBookingRequest(
        request_id=new(), station_id=booking.station_id, booking_id=booking.booking_id, cancelled_by=pb.CANCELLED_BY_STATION
    )
    await teppan.bookings.CancelBooking(request, metadata=teppan.member(booking.station_id))


async def due(rows: asyncpg.Connection, booking: pb.Booking) -> int | None:
    select = "SELECT refund_due_minor FROM payments.booking_accounts WHERE booking_id = $1"
    return await rows.fetchval(select, UUID(booking.booking_id))  # type: ignore[no-any-return]  # a bigint


async def test_while_a_station_is_suspended_nothing_begins_and_everything_ends(teppan: Teppan, rows: asyncpg.Connection) -> None:
    station = await teppan.station()
    customer = await teppan.customer(station)
    expires, cancelled = await teppan.booking(station, customer), await teppan.booking(station, customer)
    for booking in (expires, cancelled):
        await teppan.pay(station, booking.booking_id, LITTLE)
    await teppan.turn(station, "Suspend")

    async def payments_has_heard() -> None:
        assert await rows.fetchval("SELECT state <> 1 FROM payments.known_stations WHERE id = $1", UUID(station))

    async def nothing_begins() -> None:
        book = booking_request(station, customer, slot_start={"hours": 15})
        refusals = [
            await refused(teppan.bookings.CreateBooking(book, metadata=teppan.member(station))),
            await refused(teppan.pay(station, expires.booking_id, LITTLE)),
        ]
        assert [refusal.reason for refusal in refusals] == ["REFERENCE_CLOSED"] * 2

    await eventually(payments_has_heard)  # before, it would take the money
    await eventually(nothing_begins)
    await overdue(rows, expires.booking_id)
    await cancel(teppan, cancelled)
    assert (await became(teppan, expires, pb.BOOKING_STATE_EXPIRED)).refund_basis_points == 10_000

    async def all_is_due() -> None:
        assert [await due(rows, booking) for booking in (expires, cancelled)] == [LITTLE, LITTLE]

    await eventually(all_is_due)


async def test_a_refund_that_is_due_is_listed_with_its_station_until_it_is_not(teppan: Teppan, rows: asyncpg.Connection) -> None:
    station = await teppan.station()
    booking = await teppan.booking(station, await teppan.customer(station))
    await teppan.pay(station, booking.booking_id, LITTLE)
    await cancel(teppan, booking)

    async def is_due() -> None:
        assert await due(rows, booking) == LITTLE

    await eventually(is_due)
    (listed,) = [saga for saga in await sagas(teppan, "payments") if saga["entity_id"] == booking.booking_id]
    assert (listed["kind"], listed["station_id"]) == ("refund_due", station)
    assert listed["unfinished"] >= 1
    assert "not stuck" in listed["waits_for"]
    given = "UPDATE payments.booking_accounts SET refunded_minor = captured_minor WHERE booking_id = $1"
    await rows.execute(given, UUID(booking.booking_id))
    assert booking.booking_id not in {saga["entity_id"] for saga in await sagas(teppan, "payments")}
    assert await sagas(teppan, "identity") == []


async def test_money_for_a_booking_that_nobody_knows_is_parked_and_listed_and_others_go_on(
    teppan: Teppan, rows: asyncpg.Connection
) -> None:
    station, nobody = await teppan.station(), uuid4()
    payload = AnyMessage()
    payload.Pack(payments_pb2.Account(booking_id=str(nobody), station_id=station, captured_minor=LITTLE))
    told = (
        "INSERT INTO payments.outbox (event_id, type, entity_id, station_id, version, referent_state, payload)"
        " VALUES ($1, 'payments.Account', $1, $2, 1, 0, $3)"
    )
    await rows.execute(told, nobody, UUID(station), payload.SerializeToString())
    booking = await teppan.booking(station, await teppan.customer(station))
    await teppan.pay(station, booking.booking_id, booking.deposit_minor)
    await became(teppan, booking, pb.BOOKING_STATE_CONFIRMED)
    (listed,) = [saga for saga in await sagas(teppan, "bookings") if saga["kind"] == "deposit_parked"]
    assert (listed["entity_id"], listed["station_id"]) == (str(nobody), station)
    platform = Database(teppan.environ("bookings")["TEPPAN_DATABASE_PLATFORM_URL"], pool_size=1)
    counts = {count.kind: (count.unfinished, count.seconds > 0) for count in await Sagas(platform, bookings_sagas.KINDS).counts()}
    await platform.close()
    assert counts["deposit_parked"] == (1, True)
    assert await rows.fetchval("SELECT error_class FROM bookings.parked_events WHERE entity_id = $1", nobody) == "BookingNotFound"
    await rows.execute("DELETE FROM bookings.parked_events WHERE entity_id = $1", nobody)


async def test_a_booking_whose_account_nobody_closes_is_listed_and_is_asked_for_again(own: Teppan) -> None:
    rows = await asyncpg.connect(own.server.url(own.database))
    station = await own.station()
    booking = await own.booking(station, await own.customer(station))
    await own.stop("payments")
    await overdue(rows, booking.booking_id)
    etag = int((await became(own, booking, pb.BOOKING_STATE_EXPIRING)).etag)
    (listed,) = await sagas(own, "bookings")
    assert (listed["kind"], listed["entity_id"]) == ("expiring", booking.booking_id)
    await rows.execute("UPDATE bookings.bookings SET update_time = now() - interval '2 minutes'")

    async def asked_again() -> None:
        assert int((await became(own, booking, pb.BOOKING_STATE_EXPIRING)).etag) == etag + 1

    await eventually(asked_again)
    since = (await sagas(own, "bookings"))[0]["since"]
    assert since == listed["since"], "it waits since it was first asked for"
    await own.start("payments")
    await became(own, booking, pb.BOOKING_STATE_EXPIRED)
    assert await sagas(own, "bookings") == []
    await rows.close()
