"""An owner whose feed was lost is caught up with by those who follow it, by what it has and not by what it said."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from dbcommon.references import Known
from tests.integration.stage import Teppan, eventually, refused
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


async def test_money_that_payments_has_lost_stays_paid_and_is_listed_until_it_is_told_of_again(
    own: Teppan, database_: asyncpg.Connection
) -> None:
    station = await own.station()
    customer = await eventually(lambda: own.customer(station))
    lost, kept = [await own.booking(station, customer) for _ in range(2)]
    for booking in (lost, kept):
        await eventually(lambda booking=booking: own.pay(station, booking.booking_id, 10))
    paid = "SELECT count(*) FROM bookings.bookings WHERE paid_minor = 10 AND (paid_epoch IS NOT NULL OR $1)"

    async def heard() -> None:
        assert await database_.fetchval(paid, False) == 2

    await eventually(heard)
    await own.stop("bookings", "payments")
    await database_.execute(
        "UPDATE payments.booking_accounts SET captured_minor = 0, money_version = 0 WHERE booking_id = $1", UUID(lost.booking_id)
    )
    await database_.execute(LOST.format("payments"))
    await own.start("payments", "bookings")

    async def listed() -> None:
        assert [(saga["kind"], saga["entity_id"]) for saga in await sagas(own, "bookings")] == [("money_unknown", lost.booking_id)]

    await eventually(listed)
    assert await database_.fetchval(paid, True) == 2
    await eventually(lambda: own.pay(station, lost.booking_id, 10))
    await eventually(heard)
    assert await sagas(own, "bookings") == []
