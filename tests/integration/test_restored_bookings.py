"""Bookings is restored from an older backup, while identity and payments go on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import grpc
from teppan.bookings.v1 import bookings_pb2, customers_pb2
from teppan.identity.v1 import users_pb2

from local.database import Server
from tests.integration.moving import CLOSED, OPEN, PURGED, Moving, until
from tests.integration.stage import eventually, new, refusal_of, refused

PASSWORD = "correct horse battery"  # noqa: S105  # nobody's


@dataclass
class Tried:
    """A write that refers to a station, again and again, and how it was answered."""

    moving: Moving
    station: str
    refusals: list[str] = field(default_factory=list)
    done: int = 0

    async def run(self) -> None:
        while True:
            try:
                await self.moving.customer(self.station)
                self.done += 1
            except grpc.aio.AioRpcError as error:
                refusal = refusal_of(error)
                self.refusals.append(f"{refusal.reason}: {refusal.message}")
            await asyncio.sleep(0)

    def was(self, beginning: str) -> bool:
        """Whether it was refused so."""
        return any(each.startswith(beginning) for each in self.refusals)


@asynccontextmanager
async def tried(moving: Moving, *stations: str) -> AsyncIterator[list[Tried]]:
    """One for each station, meanwhile."""
    found = [Tried(moving, station) for station in stations]
    tasks = [asyncio.create_task(each.run()) for each in found]
    try:
        yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@asynccontextmanager
async def deaf(moving: Moving) -> AsyncIterator[None]:
    """Bookings hears nothing of identity meanwhile: somebody has its cursor."""
    connection = await asyncpg.connect(moving.cluster("bookings").url(moving.database))
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM bookings.feed_state WHERE owner = 'identity' FOR UPDATE")
            yield
    finally:
        await connection.close()


async def nobody_writes_before_it_has_caught_up(moving: Moving, *, same: str, suspended: str) -> None:
    """Starts bookings, which was restored to before one station was suspended, while writes that refer to both are tried."""
    fresh = "UPDATE bookings.feed_state SET complete_until = now()"  # so that it is the guard that refuses, and not staleness
    await moving.fetch("bookings", fresh)
    async with tried(moving, same, suspended) as (good, bad):
        async with deaf(moving):
            await moving.start("bookings")
            await until(lambda: good.was("FEED_STALE: not caught up with what") and bad.was("FEED_STALE: not caught up with what"))
            assert (good.done, bad.done) == (0, 0)
        await until(lambda: good.done and bad.was("REFERENCE_CLOSED"))
    assert bad.done == 0


async def user(moving: Moving) -> str:
    request = users_pb2.CreateUserRequest(request_id=new(), name="Ann", email=f"{uuid4().hex}@example.com", password=PASSWORD)
    return str((await moving.users.CreateUser(request, metadata=moving.admin)).user.user_id)


async def purge_user(moving: Moving, user_id: str) -> None:
    await moving.users.DisableUser(users_pb2.DisableUserRequest(request_id=new(), user_id=user_id), metadata=moving.admin)
    request = users_pb2.PurgeUserRequest(request_id=new(), user_id=user_id)

    async def gone() -> None:
        assert (await moving.users.PurgeUser(request, metadata=moving.admin)).user.state == users_pb2.USER_STATE_PURGED

    await eventually(gone)


async def confirmed(moving: Moving, booking: bookings_pb2.Booking) -> bool:
    request = bookings_pb2.GetBookingRequest(station_id=booking.station_id, booking_id=booking.booking_id)
    found = (await moving.bookings.GetBooking(request, metadata=moving.admin)).booking
    return bool(found.state == bookings_pb2.BOOKING_STATE_CONFIRMED)


async def test_what_happened_after_the_backup_is_caught_up_with_and_what_is_lost_is_known(
    moving: Moving, other: Server, tmp_path: Path
) -> None:
    same, suspended, restricted = [await moving.station() for _ in range(3)]
    cascaded = await moving.with_a_week()
    customer, login = await moving.customer(same), await user(moving)
    for station in (suspended, restricted):
        await moving.customer(station)
    linked = customers_pb2.CreateCustomerRequest(
        request_id=new(), station_id=same, name="Bo", email=f"{uuid4().hex}@example.com", user_id=login
    )
    await moving.customers.CreateCustomer(linked, metadata=moving.admin)
    paid = await moving.booking(same, customer)
    file = await moving.back_up("bookings", tmp_path / "bookings")

    epoch = await moving.epoch("bookings")
    await eventually(lambda: moving.pay(same, paid.booking_id, paid.deposit_minor))
    lost = await moving.booking(same, customer)
    await eventually(lambda: moving.pay(same, lost.booking_id, 10))
    await moving.fetch("bookings", "DELETE FROM bookings.customers WHERE station_id = $1", UUID(restricted))
    await moving.turn(suspended, "Suspend")
    for station in (cascaded, restricted):
        await moving.turn(station, "Delete")
        await moving.purged(station)
    await purge_user(moving, login)
    await until(lambda: confirmed(moving, paid))

    await moving.restore("bookings", file, other)
    await nobody_writes_before_it_has_caught_up(moving, same=same, suspended=suspended)
    await until(lambda: confirmed(moving, paid))
    await moving.known({same: OPEN, suspended: CLOSED, cascaded: PURGED, restricted: PURGED})
    await moving.caught_up(payments_booking_accounts={UUID(lost.booking_id)})
    assert await moving.epoch("bookings") != epoch
    aside = await moving.fetch("bookings", "SELECT DISTINCT type, entity_id FROM bookings.parked_events")
    assert [tuple(row) for row in aside] == [("payments.Account", UUID(lost.booking_id))]
    assert (await refused(moving.pay(same, lost.booking_id, 1))).reason == "REFERENCE_NOT_FOUND"
    assert await moving.broken() == {
        ("bookings.customers.station_id", UUID(restricted)): 1, ("payments.payments.booking_id", UUID(lost.booking_id)): 1,
    }  # fmt: skip


async def test_data_that_are_restored_into_tables_that_stayed_are_a_past_too(moving: Moving, tmp_path: Path) -> None:
    same, suspended = [await moving.used() for _ in range(2)]
    file = await moving.back_up("bookings", tmp_path / "bookings")
    epoch = await moving.epoch("bookings")
    await moving.turn(suspended, "Suspend")
    await moving.known({same: OPEN, suspended: CLOSED})
    await moving.restore("bookings", file)
    await nobody_writes_before_it_has_caught_up(moving, same=same, suspended=suspended)
    await moving.caught_up()
    assert await moving.epoch("bookings") != epoch
    assert await moving.broken() == {}
