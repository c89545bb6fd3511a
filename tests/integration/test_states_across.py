"""Stations and users out of use take nothing new in any service, and take it again when they are back."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from teppan.bookings.v1 import bookings_pb2, customers_pb2, slots_pb2
from teppan.identity.v1 import stations_pb2, users_pb2

from dbcommon.references import Known, Referent
from tests.integration.stage import Teppan, booking_request, eventually, new, payment_request, refusal_of, refused

FOLLOWERS = ("bookings", "payments")
ACTIVE = stations_pb2.STATION_STATE_ACTIVE
VERBS = ("Suspend", "Resume", "Delete", "Undelete")


@pytest.fixture
async def station(teppan: Teppan) -> str:
    return await teppan.station()


@pytest.fixture
async def rows(teppan: Teppan) -> AsyncIterator[asyncpg.Connection]:
    """Sees everything."""
    connection = await asyncpg.connect(teppan.server.url(teppan.database))
    yield connection
    await connection.close()


async def hears(
    rows: asyncpg.Connection, service: str, id: str, version: int, state: Known, *, table: str = "known_stations"
) -> None:
    """Returns once a service knows the station, or the user, like this."""

    async def known() -> None:
        row = await rows.fetchrow(f"SELECT version, state FROM {service}.{table} WHERE id = $1", UUID(id))
        assert row is not None
        assert (row["version"], row["state"]) == (version, state)

    await eventually(known)


def known_as(station: stations_pb2.Station) -> Known:
    return Known.OPEN if station.state == ACTIVE else Known.CLOSED


async def all_hear(rows: asyncpg.Connection, station: stations_pb2.Station) -> None:
    """Returns once all services know the station as it is."""
    for service in FOLLOWERS:
        await hears(rows, service, station.station_id, int(station.etag), known_as(station))


def writes(teppan: Teppan, station: str, customer: str, booking: str) -> list[Callable[[], Any]]:
    """All that begins something at a station; money last."""
    new_customer = customers_pb2.CreateCustomerRequest(
        request_id=new(), station_id=station, name="Bo", email=f"{uuid4().hex}@example.com"
    )
    slots = [slots_pb2.ScheduledSlot(weekday=day, length_minutes=60, capacity=9) for day in range(1, 8)]
    for slot in slots:
        slot.start.hours = 12
    schedule = slots_pb2.UpdateScheduleRequest(request_id=new(), station_id=station, slots=slots)
    who = teppan.admin
    return [
        lambda: teppan.customers.CreateCustomer(new_customer, metadata=who),
        lambda: teppan.slots.UpdateSchedule(schedule, metadata=who),
        lambda: teppan.bookings.CreateBooking(booking_request(station, customer), metadata=who),
        lambda: teppan.payments.CreatePayment(payment_request(station, booking, 100), metadata=who),
    ]


@pytest.mark.parametrize("way", [("Suspend",), ("Delete",), ("Delete", "Undelete")], ids="-".join)
async def test_a_station_out_of_use_takes_nothing_new_anywhere_until_it_is_back(
    teppan: Teppan, station: str, rows: asyncpg.Connection, way: tuple[str, ...]
) -> None:
    customer = await teppan.customer(station)
    booking = await teppan.booking(station, customer)
    await teppan.pay(station, booking.booking_id, 100)
    await all_hear(rows, await teppan.turn(station, *way))
    for call in writes(teppan, station, customer, booking.booking_id):
        refusal = await refused(call())
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "REFERENCE_CLOSED")
        assert (refusal.metadata["field"], refusal.metadata["type"]) == ("station_id", "identity.Station")
    get = bookings_pb2.GetBookingRequest(station_id=station, booking_id=booking.booking_id)
    assert (await teppan.bookings.GetBooking(get, metadata=teppan.admin)).booking.reference == booking.reference
    await all_hear(rows, await teppan.turn(station, *(["Undelete"] if way == ("Delete",) else []), "Resume"))
    for call in writes(teppan, station, customer, booking.booking_id):
        await call()


async def test_a_station_that_came_back_before_anybody_referred_to_it_is_taken(
    teppan: Teppan, station: str, rows: asyncpg.Connection
) -> None:
    await all_hear(rows, await teppan.turn(station, "Suspend", "Resume"))
    booking = await teppan.booking(station, await teppan.customer(station))
    await teppan.pay(station, booking.booking_id, 100)


async def test_a_disabled_user_is_no_new_login_of_a_customer_and_stays_that_of_an_old_one(
    teppan: Teppan, station: str, rows: asyncpg.Connection
) -> None:
    email = f"{uuid4().hex}@example.com"
    create = users_pb2.CreateUserRequest(request_id=new(), name="Ann", email=email, password="correct horse battery")  # noqa: S106  # nobody's
    user, unknown = [
        (await teppan.users.CreateUser(request, metadata=teppan.admin)).user.user_id
        for request in (
            create,
            users_pb2.CreateUserRequest(request_id=new(), name="Bo", email="b" + email, password=create.password),
        )
    ]

    def customer_of(user: str) -> Any:
        request = customers_pb2.CreateCustomerRequest(
            request_id=new(), station_id=station, name="Bo", email=f"{uuid4().hex}@example.com", user_id=user
        )
        return teppan.customers.CreateCustomer(request, metadata=teppan.admin)

    async def stored() -> set[UUID]:
        return {row["id"] for row in await rows.fetch("SELECT id FROM bookings.customers WHERE user_id = $1", UUID(user))}

    first = UUID((await customer_of(user)).customer.customer_id)
    for each in (user, unknown):
        await teppan.users.DisableUser(users_pb2.DisableUserRequest(request_id=new(), user_id=each), metadata=teppan.admin)
    await hears(rows, "bookings", user, 2, Known.CLOSED, table="known_users")
    for each in (user, unknown):  # by what was heard, or by what is answered
        refusal = await refused(customer_of(each))
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "REFERENCE_CLOSED")
        assert (refusal.metadata["field"], refusal.metadata["type"]) == ("user_id", "identity.User")
    assert await stored() == {first}
    booking = await teppan.booking(station, str(first))  # the customer's, whoever may not log in
    assert booking.customer_id == str(first)
    await teppan.users.EnableUser(users_pb2.EnableUserRequest(request_id=new(), user_id=user), metadata=teppan.admin)
    await hears(rows, "bookings", user, 3, Known.OPEN, table="known_users")
    second = UUID((await customer_of(user)).customer.customer_id)
    assert await stored() == {first, second}


@pytest.mark.parametrize("seed", range(3))
async def test_changes_of_one_station_at_once_end_alike_everywhere(
    teppan: Teppan, station: str, rows: asyncpg.Connection, seed: int
) -> None:
    customer, chance, answers = await teppan.customer(station), random.Random(seed), []
    for _ in range(5):
        calls = [teppan.turn(station, verb) for verb in chance.choices(VERBS, k=8)]
        answers += await asyncio.gather(*calls, return_exceptions=True)
    versions = sorted(int(answer.etag) for answer in answers if isinstance(answer, stations_pb2.Station))
    assert versions == list(range(2, len(versions) + 2)), "each change that fitted made the next version"
    refusals = [refusal_of(answer) for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {refusal.reason for refusal in refusals} == {"STATION_STATE"}
    assert len(versions) + len(refusals) == len(answers)
    get = stations_pb2.GetStationRequest(station_id=station)
    final = (await teppan.stations.GetStation(get, metadata=teppan.admin)).station
    assert int(final.etag) == versions[-1]
    await all_hear(rows, final)
    last = "SELECT version, referent_state FROM identity.events WHERE entity_id = $1 ORDER BY position"
    events = await rows.fetch(last, UUID(station))
    assert [event["version"] for event in events] == [1, *versions]
    assert events[-1]["referent_state"] == (Referent.OPEN if final.state == ACTIVE else Referent.CLOSED)
    for call in writes(teppan, station, customer, new())[:-1]:
        if final.state == ACTIVE:
            await call()
        else:
            assert (await refused(call())).reason == "REFERENCE_CLOSED"


async def test_nothing_is_booked_between_a_close_and_the_next_opening(
    teppan: Teppan, station: str, rows: asyncpg.Connection
) -> None:
    await teppan.week(station, slots_a_day=1, capacity=1_000)
    customer, done, heard = await teppan.customer(station), asyncio.Event(), set()

    async def book() -> None:
        while not done.is_set():
            request = booking_request(station, customer)
            request.slot_start.hours = 0
            try:
                await teppan.bookings.CreateBooking(request, metadata=teppan.admin)
                heard.add("booked")
            except grpc.aio.AioRpcError as error:
                heard.add(refusal_of(error).reason)

    async def until_heard(what: str) -> None:
        heard.clear()
        async with asyncio.timeout(20):
            while what not in heard:
                await asyncio.sleep(0.01)

    booking = [asyncio.create_task(book()) for _ in range(4)]
    count = "SELECT count(*) FROM bookings.bookings WHERE station_id = $1"
    for close, *opening in (("Suspend", "Resume"), ("Delete", "Undelete", "Resume")) * 3:
        await until_heard("booked")
        closed = await teppan.turn(station, close)
        await hears(rows, "bookings", station, int(closed.etag), Known.CLOSED)
        at_close = await rows.fetchval(count, UUID(station))
        await until_heard("REFERENCE_CLOSED")
        assert await rows.fetchval(count, UUID(station)) == at_close
        await teppan.turn(station, *opening)
    await until_heard("booked")
    done.set()
    await asyncio.gather(*booking)
