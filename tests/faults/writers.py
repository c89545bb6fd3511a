"""Those who write what refers to stations, users and bookings: through the client, and in transactions that stall."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from demo.scene import FIRST_DAY, SLOTS_A_DAY, Place, booking, day, week
from teppan.bookings.v1 import bookings_pb2, customers_pb2

from tests.faults.crashes import GONE
from tests.faults.once import marked
from tests.faults.world import World
from tests.traffic import deposit

DAYS = 80
HOURS = range(4, 24, 24 // SLOTS_A_DAY)
"""Of the slots that every day has, also those on which the clocks change."""
OWN_USER = 0.5
"""The share of customers who have a login."""
COMMITTED = 0.5
"""The share of stalled transactions that commit in the end."""
CANCELLED = 0.3
"""The share of turns at which a booking is cancelled."""
SOUGHT = 0.3
"""The share of bookings that go for the same slot of their station."""
LASTING = 0.7
"""The share of bookings at stations that are not on their way out; else most of all would be."""
UNKNOWN = 0.7
"""The share of repeats that are of requests without an answer so far."""
BRIEF = 4
"""A power of chance: half of them stall for less than a sixteenth of the longest time."""
REFUSALS = (asyncpg.CheckViolationError, asyncpg.ForeignKeyViolationError)
"""By the guard: closed or not ready; not known."""
INSERT = """INSERT INTO bookings.customers SELECT (jsonb_populate_record(NULL::bookings.customers, $1::jsonb)).*"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A transaction that has written a customer, and not ended."""

    connection: asyncpg.Connection
    transaction: Any
    customer_id: str


def writers(world: World) -> list[Callable[[], Awaitable[None]]]:
    """One of each: what is called again and again."""
    each_one = (customer, customer, book, book, pay, cancel, again, again, look, schedule)
    return [lambda each=each: each(world) for each in each_one]  # type: ignore[misc]  # bound here


async def customer(world: World) -> None:
    """RESTRICT by station, NULLIFY by user."""
    station = world.some_station()
    wanted = marked("name", customers_pb2.CreateCustomerRequest(station_id=station, email=f"{uuid4().hex}@example.com"))
    if world.users and world.chance.random() < OWN_USER:
        wanted.user_id = world.chance.choice(world.users)
    if answer := await world.effect("customers.CreateCustomer", wanted):
        world.keep("bookings.customers", answer.customer.customer_id)
        world.customers.setdefault(station, []).append(answer.customer.customer_id)


async def book(world: World) -> None:
    """RESTRICT, and by its slot CASCADE, by station."""
    if not world.customers:
        return
    lasting = [station for station in world.lasting if station in world.customers]
    station = world.chance.choice(lasting if lasting and world.chance.random() < LASTING else list(world.customers))
    place = Place(station_id=station, name="", currency_code="EUR", customers=tuple(world.customers[station]))
    start = time(world.chance.choice(HOURS))
    date = day(FIRST_DAY + world.chance.randrange(DAYS))
    if world.chance.random() < SOUGHT:
        date, start = day(FIRST_DAY), time(HOURS[0])
    wanted = marked("requests", booking(place, date, start, world.chance.randrange(1_000)))
    if answer := await world.effect("bookings.CreateBooking", wanted):
        world.keep("bookings.bookings", answer.booking.booking_id)
        world.unpaid.append(answer.booking)
        world.uncancelled.append(answer.booking)


async def pay(world: World) -> None:
    """RESTRICT by station, and by booking."""
    if not world.unpaid:
        return
    due = world.unpaid.pop(world.chance.randrange(len(world.unpaid)))
    if answer := await world.effect("payments.CreatePayment", deposit(due)):
        world.keep("payments.payments", answer.payment.payment_id)


async def cancel(world: World) -> None:
    """Gives a place back, and leaves a refund due where it was paid; or refuses a payment that is under way."""
    if not world.uncancelled or world.chance.random() > CANCELLED:
        return
    made = world.uncancelled.pop(world.chance.randrange(len(world.uncancelled)))
    by = bookings_pb2.CANCELLED_BY_STATION
    wanted = bookings_pb2.CancelBookingRequest(station_id=made.station_id, booking_id=made.booking_id, cancelled_by=by)
    await world.effect("bookings.CancelBooking", marked("request_id", wanted))


async def again(world: World) -> None:
    """Sends a request once more, mostly one of which nobody knows what became of it."""
    known = [each for each in world.asked if each.open] if world.chance.random() < UNKNOWN else world.asked
    if known:
        await world.send(world.chance.choice(known))


async def look(world: World) -> None:
    """Reads without the client, which repeats nothing: what the services themselves say, and gRPC."""
    if not world.uncancelled:
        return
    made = world.chance.choice(world.uncancelled)
    get = bookings_pb2.GetBookingRequest(station_id=made.station_id, booking_id=made.booking_id)
    await world.heard("bare GetBooking", world.bare.GetBooking, get)
    listed = bookings_pb2.ListBookingsRequest(station_id=made.station_id)
    await world.heard("bare ListBookings", lambda request, **given: _whole(world.bare.ListBookings(request, **given)), listed)


async def _whole(stream: AsyncIterator[Any]) -> list[Any]:
    return [message async for message in stream]


async def schedule(world: World) -> None:
    """CASCADE by station: goes with it, and must not come after it."""
    await world.call("slots.UpdateSchedule", week(world.some_station()))


class Stalled:
    """Writers that stop in the middle of a transaction, as a process does that is frozen there: what closes must wait for them."""

    def __init__(self, world: World, app_url: str, example: Mapping[str, Any], seconds_max: float) -> None:
        """`example` is the row of some customer; they stall for up to so long."""
        self._world, self._url, self._example, self._seconds_max = world, app_url, example, seconds_max

    async def write(self) -> None:
        """A whole one, somewhere."""
        await self.end(await self.open(self._world.some_station()))

    async def open(self, station: str) -> Open | None:
        """Writes a customer, in a transaction that stays open; None where the guard refuses, or Postgres ends."""
        try:
            connection = await asyncpg.connect(self._url)
        except GONE:
            return None
        try:
            return await self._write(connection, station)
        except REFUSALS:
            self._world.told["a stalled writer", "refused", ""] += 1
        except GONE:
            self._world.told["a stalled writer", "cut off", ""] += 1
        connection.terminate()
        return None

    async def _write(self, connection: asyncpg.Connection, station: str) -> Open:
        row = {**self._example, "station_id": station, "id": str(uuid4()), "email_index": f"\\x{secrets.token_hex(16)}"}
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT set_config('teppan.station_id', $1, true)", station)
        await connection.execute(INSERT, json.dumps(row))
        return Open(connection=connection, transaction=transaction, customer_id=str(row["id"]))

    async def end(self, opened: Open | None) -> None:
        """Stalls, and commits, or dies and leaves nothing."""
        if opened is None:
            return
        await asyncio.sleep(self._seconds_max * self._world.chance.random() ** BRIEF)
        if self._world.chance.random() < COMMITTED:
            with contextlib.suppress(*GONE):
                await opened.transaction.commit()
                self._world.keep("bookings.customers", opened.customer_id)
        opened.connection.terminate()


async def example(rows: asyncpg.Connection, customer_id: str) -> Mapping[str, Any]:
    """The row of a customer without a login."""
    row = await rows.fetchval("SELECT to_jsonb(c) FROM bookings.customers c WHERE id = $1", UUID(customer_id))
    return {**json.loads(row), "user_id": None, "name": "Stalled"}
