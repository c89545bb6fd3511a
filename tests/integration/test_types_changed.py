"""Migrations that change types under load: a call may be told to come again, and nothing else; no event is blamed."""

import asyncio
from collections import Counter

import asyncpg
import grpc
from teppan.bookings.v1 import bookings_pb2

from tests.integration.stage import Teppan, booking_request, caught_up, new
from tests.unit.rpc_stage import details

CHANGES = [
    ("bookings.bookings", "requests", ("varchar(600)", "text")),
    ("bookings.bookings", "refund_basis_points", ("bigint", "integer")),
    ("bookings.known_stations", "time_zone", ("varchar(99)", "text")),
    ("bookings.feed_state", "cursor", ("varchar(9999)", "text")),
    ("payments.payments", "amount_minor", ("numeric", "bigint")),
    ("payments.booking_accounts", "currency_code", ("varchar(99)", "text")),
]
TOLD = {("UNAVAILABLE", "DATABASE_UNAVAILABLE"), ("UNAVAILABLE", "PEER_UNAVAILABLE"), ("ABORTED", "LOCK_TIMEOUT")}


class Load:
    """Calls of every kind, again and again."""

    def __init__(self, teppan: Teppan, station: str, customer: str) -> None:
        self.teppan, self.station, self.customer = teppan, station, customer
        self.member = teppan.member(station)
        self.told: Counter[tuple[str, str]] = Counter()
        self.over = False

    async def call(self) -> None:
        """Books, reads, lists, pays and cancels."""
        book = booking_request(self.station, self.customer)
        made = (await self.teppan.bookings.CreateBooking(book, metadata=self.member)).booking
        named = {"station_id": self.station, "booking_id": made.booking_id}
        await self.teppan.bookings.GetBooking(bookings_pb2.GetBookingRequest(**named), metadata=self.member)
        listed = bookings_pb2.ListBookingsRequest(station_id=self.station, page_size=2, page_limit=3)
        assert [page async for page in self.teppan.bookings.ListBookings(listed, metadata=self.member)]
        await self.teppan.pay(self.station, made.booking_id, 100)
        cancel = bookings_pb2.CancelBookingRequest(request_id=new(), cancelled_by=bookings_pb2.CANCELLED_BY_STATION, **named)
        await self.teppan.bookings.CancelBooking(cancel, metadata=self.member)

    async def run(self) -> None:
        """Until it is over."""
        while not self.over:
            try:
                await self.call()
            except grpc.aio.AioRpcError as error:
                self.told[error.code().name, details(error)[0].reason] += 1
            else:
                self.told["OK", ""] += 1


async def test_types_change_under_load(own: Teppan) -> None:
    station = await own.station()
    await own.week(station, slots_a_day=4, capacity=50)
    load = Load(own, station, await own.customer(station))
    await load.call()
    owner = await asyncpg.connect(own.server.url(own.database))
    running = [asyncio.create_task(load.run()) for _ in range(4)]
    for number in range(2):
        for table, column, types in CHANGES:
            went = load.told["OK", ""]
            await owner.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {types[number % 2]}")
            async with asyncio.timeout(20):
                while load.told["OK", ""] == went:
                    await asyncio.sleep(0.005)
    load.over = True
    await asyncio.gather(*running)
    await caught_up(own)
    aside = [await owner.fetchval(f"SELECT count(*) FROM {service}.parked_events") for service in ("bookings", "payments")]
    await owner.close()
    assert aside == [0, 0]
    assert set(load.told) <= {("OK", ""), *TOLD}, load.told
    assert set(load.told) > {("OK", "")}, "no statement was outdated: nothing is proved"
