"""How often a call goes to the database: each time costs more than most of what is done there."""

from typing import Any

import asyncpg
import pytest
from teppan.bookings.v1 import bookings_pb2
from teppan.identity.v1 import stations_pb2
from teppan.payments.v1 import payments_pb2

from tests.integration.stage import Teppan, booking_request, new

ROLES = {"identity_app", "identity_platform", "bookings_app", "payments_app"}
"""Of calls; of those of identity that cross stations, too, and so of its workers."""
PROBE = "alembic_version"
"""Asked about every second by who says whether the process is ready."""


@pytest.fixture
def trips(teppan: Teppan, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that a call's role sends; each is a round trip, BEGIN with its settings being one.

    Stacks that other tests of this process share go on meanwhile, each on a database of its own.
    """
    seen: list[str] = []
    fetch, execute = asyncpg.Connection.fetch, asyncpg.Connection.execute

    def note(connection: Any, query: str) -> None:
        ours = connection._params.database == teppan.database
        if ours and connection._params.user in ROLES and PROBE not in query:
            seen.append(f"{connection._params.user}: {query}")

    async def fetched(self: Any, query: str, *args: Any, **given: Any) -> Any:
        note(self, query)
        return await fetch(self, query, *args, **given)

    async def executed(self: Any, query: str, *args: Any, **given: Any) -> Any:
        note(self, query)
        return await execute(self, query, *args, **given)

    monkeypatch.setattr(asyncpg.Connection, "fetch", fetched)
    monkeypatch.setattr(asyncpg.Connection, "execute", executed)
    return seen


def of(trips: list[str], role: str) -> list[str]:
    found = [trip for trip in trips if trip.startswith(f"{role}: ")]
    trips.clear()
    return found


async def test_reads_are_one_and_writes_are_few(teppan: Teppan, trips: list[str]) -> None:
    station = await teppan.station()
    await teppan.week(station, slots_a_day=4, capacity=5)
    customer, member = await teppan.customer(station), teppan.member(station)
    first = await teppan.booking(station, customer)  # the slot's row is made, the station is known
    trips.clear()

    made = (await teppan.bookings.CreateBooking(booking_request(station, customer), metadata=member)).booking
    assert (made.slot_date, made.slot_start) == (first.slot_date, first.slot_start)
    assert len(of(trips, "bookings_app")) == 5, "BEGIN, the request, all that is read, all that is written, COMMIT"

    read = bookings_pb2.GetBookingRequest(station_id=station, booking_id=made.booking_id)
    assert (await teppan.bookings.GetBooking(read, metadata=member)).booking == made
    assert len(of(trips, "bookings_app")) == 1

    page = bookings_pb2.ListBookingsRequest(station_id=station, page_limit=1)
    assert [len(each.bookings) async for each in teppan.bookings.ListBookings(page, metadata=member)] == [2]
    assert len(of(trips, "bookings_app")) == 1

    await teppan.pay(station, made.booking_id, 100)  # the booking is known to payments
    trips.clear()
    await teppan.pay(station, made.booking_id, 100)
    assert len(of(trips, "payments_app")) == 5

    listed = payments_pb2.ListPaymentsRequest(station_id=station, page_limit=1)
    assert [len(each.payments) async for each in teppan.payments.ListPayments(listed, metadata=member)] == [2]
    assert len(of(trips, "payments_app")) == 1

    cancel = bookings_pb2.CancelBookingRequest(
        request_id=new(), station_id=station, booking_id=made.booking_id, cancelled_by=bookings_pb2.CANCELLED_BY_STATION
    )  # fmt: skip
    await teppan.bookings.CancelBooking(cancel, metadata=member)
    assert len(of(trips, "bookings_app")) == 6
    await teppan.bookings.CancelBooking(cancel, metadata=member)
    assert len(of(trips, "bookings_app")) == 5, "a repeat: BEGIN, the request, ROLLBACK, what it made, the booking"

    await teppan.stations.GetStation(stations_pb2.GetStationRequest(station_id=station), metadata=member)
    assert len(of(trips, "identity_app")) == 1
    many = stations_pb2.BatchGetStationsRequest(station_ids=[station, *(new() for _ in range(999))])
    trips.clear()
    assert len((await teppan.stations.BatchGetStations(many, metadata=teppan.admin)).stations) == 1_000
    batches = [trip for trip in of(trips, "identity_platform") if "ANY($1)" in trip and "identity.stations" in trip]
    assert len(batches) == 1
