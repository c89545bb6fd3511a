"""Purges with all three services as they are: what refers holds back, what is to go goes, and nobody forgets."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from teppan.bookings.v1 import bookings_pb2, customers_pb2
from teppan.identity.v1 import stations_pb2 as pb
from teppan.identity.v1 import users_pb2

from dbcommon.references import Known
from tests.integration.stage import Teppan, eventually, new, refused

PURGED = pb.STATION_STATE_PURGED
PASSWORD = "correct horse battery"  # noqa: S105  # nobody's


@pytest.fixture
async def rows(teppan: Teppan) -> AsyncIterator[asyncpg.Connection]:
    """Sees everything."""
    connection = await asyncpg.connect(teppan.server.url(teppan.database))
    yield connection
    await connection.close()


async def purged(teppan: Teppan, request: pb.PurgeStationRequest, admin: Any) -> None:
    """Returns once it is; the same request, again and again."""

    async def again() -> None:
        try:
            answer = await teppan.stations.PurgeStation(request, metadata=admin)
        except grpc.aio.AioRpcError as error:
            raise AssertionError(error.details()) from error
        assert answer.station.state == PURGED

    await eventually(again)


async def known(rows: asyncpg.Connection, service: str, table: str, id: str) -> Known | None:
    state = await rows.fetchval(f"SELECT state FROM {service}.{table} WHERE id = $1", UUID(id))
    return None if state is None else Known(state)


async def forgotten(rows: asyncpg.Connection, service: str, table: str, id: str) -> None:
    """Returns once that is known to be gone: its owner need not wait for the mark, only for what is left."""

    async def marked() -> None:
        assert await known(rows, service, table, id) is Known.PURGED

    await eventually(marked)


async def test_a_station_with_nothing_but_a_week_is_purged_and_the_week_goes(teppan: Teppan, rows: asyncpg.Connection) -> None:
    station, admin = await teppan.station(), teppan.admin
    await teppan.week(station, slots_a_day=2, capacity=5)
    await teppan.turn(station, "Delete")
    await purged(teppan, pb.PurgeStationRequest(request_id=new(), station_id=station), admin)
    for table in ("schedules", "schedule_slots", "slots"):
        assert await rows.fetchval(f"SELECT count(*) FROM bookings.{table} WHERE station_id = $1", UUID(station)) == 0
    for service in ("bookings", "payments"):
        await forgotten(rows, service, "known_stations", station)


async def test_a_station_is_held_back_by_its_customers_bookings_and_payments(teppan: Teppan) -> None:
    station, admin = await teppan.station(), teppan.admin
    customer = await teppan.customer(station)
    bookings = [await teppan.booking(station, customer) for _ in range(2)]
    await teppan.pay(station, bookings[0].booking_id, 70)
    await teppan.turn(station, "Delete")
    request = pb.PurgeStationRequest(request_id=new(), station_id=station)
    for _ in range(2):
        answer = await refused(teppan.stations.PurgeStation(request, metadata=admin))
        assert (answer.code, answer.reason) == ("FAILED_PRECONDITION", "STILL_REFERENCED")
        assert (
            answer.metadata["column"] == "bookings.bookings.station_id,bookings.customers.station_id,payments.payments.station_id"
        )
        assert answer.metadata["count"] == "2,1,1"
    back = await teppan.turn(station, "Undelete", "Resume")
    assert back.state == pb.STATION_STATE_ACTIVE
    get = bookings_pb2.GetBookingRequest(station_id=station, booking_id=bookings[0].booking_id)
    assert (await teppan.bookings.GetBooking(get, metadata=admin)).booking.reference == bookings[0].reference

    async def taken() -> None:  # once the feed has told of it
        try:
            await teppan.customer(station)
        except grpc.aio.AioRpcError as error:
            raise AssertionError(error.details()) from error

    await eventually(taken)


async def test_a_purge_waits_for_a_write_that_is_open(teppan: Teppan, rows: asyncpg.Connection) -> None:
    station, admin = await teppan.station(), teppan.admin
    await teppan.week(station, slots_a_day=1, capacity=1)
    request = pb.PurgeStationRequest(request_id=new(), station_id=station)
    async with rows.transaction():
        await rows.execute("SELECT FROM bookings.known_stations WHERE id = $1 FOR KEY SHARE", UUID(station))
        await teppan.turn(station, "Delete")
        answer = await refused(teppan.stations.PurgeStation(request, metadata=admin, timeout=2))
        assert (answer.reason, answer.metadata["peer"]) == ("NOT_CLOSED_YET", "bookings")
    await purged(teppan, request, admin)


async def test_a_purged_users_customers_stay_and_forget_the_login(teppan: Teppan, rows: asyncpg.Connection) -> None:
    station, admin = await teppan.station(), teppan.admin
    create = users_pb2.CreateUserRequest(request_id=new(), name="Ann", email=f"{uuid4().hex}@example.com", password=PASSWORD)
    user = (await teppan.users.CreateUser(create, metadata=admin)).user.user_id
    customer = customers_pb2.CreateCustomerRequest(
        request_id=new(), station_id=station, name="Bo", email=f"{uuid4().hex}@example.com", user_id=user
    )
    made = (await teppan.customers.CreateCustomer(customer, metadata=admin)).customer.customer_id
    await teppan.users.DisableUser(users_pb2.DisableUserRequest(request_id=new(), user_id=user), metadata=admin)
    request = users_pb2.PurgeUserRequest(request_id=new(), user_id=user)

    async def gone() -> None:
        assert (await teppan.users.PurgeUser(request, metadata=admin)).user.state == users_pb2.USER_STATE_PURGED

    await eventually(gone)
    row = await rows.fetchrow("SELECT user_id, name FROM bookings.customers WHERE id = $1", UUID(made))
    assert tuple(row) == (None, "Bo")
    await forgotten(rows, "bookings", "known_users", user)


async def test_a_purge_outlives_restarts_of_all_three(own: Teppan) -> None:
    station, admin = await own.station(), own.admin
    await own.week(station, slots_a_day=1, capacity=1)
    await own.turn(station, "Delete")
    request = pb.PurgeStationRequest(request_id=new(), station_id=station)
    await own.stop("payments")
    assert (await refused(own.stations.PurgeStation(request, metadata=admin))).reason == "PEER_UNAVAILABLE"
    await own.stop("identity", "bookings")
    await own.start("identity", "bookings", "payments")
    await purged(own, request, admin)
