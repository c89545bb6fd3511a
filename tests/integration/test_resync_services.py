"""An owner whose feed was lost is caught up with by those who follow it, by what it has and not by what it said."""

from uuid import UUID

import asyncpg
import pytest

from dbcommon.references import Known
from tests.integration.stage import Teppan, eventually, refused

LOST = """DELETE FROM {0}.epochs; UPDATE {0}.feed_head SET epoch = NULL, position = 0; DELETE FROM {0}.events; DELETE FROM {0}.outbox"""
"""A restore to before anything was announced."""
DROPPED = "UPDATE {0}.feed_head SET dropped_through = position; DELETE FROM {0}.events"
"""Nobody followed for 30 days."""


@pytest.fixture
async def database_(own: Teppan) -> asyncpg.Connection:
    """Sees and may do everything."""
    return await asyncpg.connect(own.server.url(own.database))


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
    await database_.close()


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
    await database_.close()
