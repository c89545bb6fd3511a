"""An owner whose feed was lost is caught up with by those who follow it, by what it has and not by what it said."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
from teppan.bookings.v1 import bookings_pb2 as pb

from dbcommon.references import Known
from tests.integration.stage import Teppan, eventually, new, refused
from tests.integration.unfinished import sagas

LOST = """DELETE FROM {0}.epochs; UPDATE {0}.feed_head SET epoch = NULL, position = 0; DELETE FROM {0}.events; DELETE FROM {0}.outbox"""
"""A restore to before anything was announced."""
DROPPED = "UPDATE {0}.feed_head SET dropped_through = position; DELETE FROM {0}.events"
"""Nobody followed for 30 days."""


@pytest.fixture
async def database_(own: Teppan) -> AsyncIterator[asyncpg.Connection]:
    """Sees and may do everything."""
    connection = await asyncpg.connect(own.server.url(own.database))
    yield connection
    await connection.close()


@pytest.mark.parametrize("lost", [LOST, DROPPED])
async def test_stations_that_changed_unheard_are_as_their_owner_has_them(
    own: Teppan, database_: asyncpg.Connection, lost: str
) -> None:
    suspended, unknown, same = [await own.station() for _ in range(3)]
    for station in (suspended, same):
        await eventually(lambda station=station: own.customer(station))
    await own.stop("bookings", "payments", "identity")
    await database_.execute(
        "UPDATE identity.stations SET state = 2, version = version + 1 WHERE id = ANY($1)", [UUID(suspended), UUID(unknown)]
    )
    await database_.execute(lost.format("identity"))
    if lost == DROPPED:
        await database_.execute("UPDATE identity.feed_head SET position = position + 1, dropped_through = position + 1")
    await own.start("identity", "bookings", "payments")

    async def caught_up() -> None:
        rows = await database_.fetch("SELECT id, state FROM bookings.known_stations")
        states = {str(row["id"]): row["state"] for row in rows}
        assert (states.get(suspended), states.get(unknown), states[same]) == (Known.CLOSED, Known.CLOSED, Known.OPEN)

    await eventually(caught_up)
    await eventually(lambda: own.customer(same))
    assert (await refused(own.customer(suspended))).reason == "REFERENCE_CLOSED"


async def test_deposits_that_were_never_heard_of_are_taken_over(own: Teppan, database_: asyncpg.Connection) -> None:
    station = await own.station()
    customer = await eventually(lambda: own.customer(station))
    booking = await own.booking(station, customer)
    await eventually(lambda: own.pay(station, booking.booking_id, 10))
    paid = "SELECT paid_minor FROM bookings.bookings WHERE id = $1"

    async def heard() -> None:
        assert await database_.fetchval(paid, UUID(booking.booking_id)) == 10

    await eventually(heard)
    await own.stop("bookings", "payments")
    await database_.execute("UPDATE bookings.bookings SET paid_minor = 0, paid_epoch = NULL, paid_version = 0")
    await database_.execute(LOST.format("payments"))
    await own.start("payments", "bookings")
    await eventually(heard)


@pytest.mark.long
async def test_money_that_payments_has_lost_stays_paid_and_is_listed_until_as_much_is_told_of_again(
    own: Teppan, database_: asyncpg.Connection
) -> None:
    station = await own.station()
    customer = await eventually(lambda: own.customer(station))
    recorded, cancelled = [await own.booking(station, customer) for _ in range(2)]
    ids = [UUID(booking.booking_id) for booking in (recorded, cancelled)]
    for booking in (recorded, cancelled):
        await eventually(lambda booking=booking: own.pay(station, booking.booking_id, 10))

    async def paid(*amounts: int) -> None:
        found = await database_.fetch("SELECT paid_minor FROM bookings.bookings WHERE id = ANY($1) ORDER BY id", ids)
        assert [row["paid_minor"] for row in found] == list(amounts)

    async def listed(*lost: pb.Booking) -> None:
        found = [(saga["kind"], saga["entity_id"]) for saga in await sagas(own, "bookings")]
        assert found == [("money_lost", booking.booking_id) for booking in lost]

    await eventually(lambda: paid(10, 10))
    await own.stop("bookings", "payments")
    await database_.execute(
        "UPDATE payments.booking_accounts SET captured_minor = 0, money_version = 0 WHERE booking_id = ANY($1)", ids
    )
    await database_.execute(LOST.format("payments"))
    async with database_.transaction():
        await database_.execute(
            "SELECT FROM bookings.bookings WHERE id = ANY($1) FOR UPDATE", ids
        )  # whatever somebody does to them is not waited for
        await own.start("payments", "bookings")
        await eventually(lambda: listed(recorded, cancelled))
    await paid(10, 10)
    await eventually(lambda: own.pay(station, recorded.booking_id, 3))
    await eventually(lambda: paid(3, 10))
    await listed(recorded, cancelled)
    await own.pay(station, recorded.booking_id, 7)
    await eventually(lambda: listed(cancelled))
    cancel = pb.CancelBookingRequest(
        request_id=new(), station_id=station, booking_id=cancelled.booking_id, cancelled_by=pb.CANCELLED_BY_STATION
    )
    await own.bookings.CancelBooking(cancel, metadata=own.member(station))
    await eventually(lambda: paid(10, 0))
    await listed(cancelled)
    await database_.execute("UPDATE bookings.lost_money SET settled_time = now()")
    await listed()


async def test_money_that_an_older_account_of_payments_does_not_have_is_listed_too(
    own: Teppan, database_: asyncpg.Connection
) -> None:
    station = await own.station()
    booking = await own.booking(station, await eventually(lambda: own.customer(station)))
    paid = "SELECT paid_minor FROM bookings.bookings WHERE id = $1"
    for amount in (10, 5):
        await eventually(lambda amount=amount: own.pay(station, booking.booking_id, amount))

    async def heard(amount: int) -> None:
        assert await database_.fetchval(paid, UUID(booking.booking_id)) == amount

    await eventually(lambda: heard(15))
    await own.stop("bookings", "payments")
    older = "UPDATE payments.booking_accounts SET captured_minor = 10, money_version = 1 WHERE booking_id = $1"
    await database_.execute(older, UUID(booking.booking_id))
    await database_.execute(LOST.format("payments"))
    await own.start("payments", "bookings")
    await eventually(lambda: heard(10))
    assert [saga["kind"] for saga in await sagas(own, "bookings")] == ["money_lost"]
