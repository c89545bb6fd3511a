"""A list that is cut at random, while others create and cancel bookings: each that matches all the time comes once, in order."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from google.type.timeofday_pb2 import TimeOfDay
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.bookings.v1 import bookings_pb2_grpc
from teppan.client import aio

from tests.integration.stage import Teppan, booking_request, day, new
from tests.unit.client.drivers import Aio, Driver, Sync
from tests.unit.client.proxy import Proxy

SLOTS_A_DAY, CAPACITY, DAYS = 24, 1_000, 3
WRITERS = 2
WRITER_PAUSE_SECONDS = 0.02
MANY = """INSERT INTO bookings.bookings (station_id, id, reference, customer_id, state, slot_date, slot_start, start_time, end_time,
  time_zone, adults, children, infants, currency_code, total_minor, deposit_minor, policy_version, requests,
  deposit_deadline_time, created_by_name, version, create_time, update_time)
SELECT station_id, gen_random_uuid(), 'TP-' || gen_random_uuid(), customer_id, 9, slot_date, slot_start, start_time + later,
  end_time + later, time_zone, adults, children, infants, currency_code, 0, 0, policy_version, '', deposit_deadline_time, 'Ann', 1,
  create_time, update_time
  FROM (SELECT * FROM bookings.bookings WHERE station_id = $1) b, generate_series(1, $2::int) n,
    LATERAL (SELECT n / 3 * 3 * make_interval(secs => $3::float / $2) AS later) t
RETURNING id"""
ASC, DESC = pb.BOOKING_ORDER_START_TIME_ASC, pb.BOOKING_ORDER_START_TIME_DESC
UNCANCELLED = [pb.BOOKING_STATE_PENDING, pb.BOOKING_STATE_NO_SHOW]
Pages = list[pb.ListBookingsResponse]


@dataclass
class Crowd:
    """A station with many bookings, three to a start, and those who write there."""

    teppan: Teppan
    station: str
    customer: str
    fixed: set[str]
    made: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    """Of those that were made; from before the call that cancels it."""
    open: bool = True

    @property
    def token(self) -> str:
        return self.teppan.member(self.station)[0][1].removeprefix("Bearer ")

    async def write(self) -> None:
        """Creates bookings among the others, and cancels every second one, until the station is closed."""
        who = self.teppan.member(self.station)
        while self.open:
            request = booking_request(self.station, self.customer, date=day(10 + random.randrange(DAYS)))
            request.slot_start.CopyFrom(TimeOfDay(hours=random.randrange(SLOTS_A_DAY)))
            self.made.add((await self.teppan.bookings.CreateBooking(request, metadata=who)).booking.booking_id)
            await asyncio.sleep(WRITER_PAUSE_SECONDS)
            if len(self.made) % 2:
                self.cancelled.add(chosen := random.choice(sorted(self.made - self.cancelled)))
                cancel = pb.CancelBookingRequest(
                    request_id=new(), station_id=self.station, booking_id=chosen, cancelled_by=pb.CANCELLED_BY_STATION
                )
                await self.teppan.bookings.CancelBooking(cancel, metadata=who)

    @asynccontextmanager
    async def written(self) -> AsyncIterator[None]:
        """While writers are at it. One that fails fails the test."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(self.write())
            yield
            self.open = False


async def crowd(teppan: Teppan, rows: int) -> Crowd:
    """A new one; its bookings fill the days on which the writers write."""
    station = await teppan.station(time_zone="Asia/Tokyo")  # where no clock ever changes
    await teppan.week(station, slots_a_day=SLOTS_A_DAY, capacity=CAPACITY)
    customer = await teppan.customer(station)
    first = (await teppan.booking(station, customer)).booking_id
    owner = await asyncpg.connect(teppan.server.url(teppan.database, "bookings_owner"))
    made = await owner.fetch(MANY, UUID(station), rows - 1, DAYS * 86_400.0)
    await owner.execute("ANALYZE bookings.bookings")
    await owner.close()
    return Crowd(teppan, station, customer, {first, *(str(row["id"]) for row in made)})


def cutting(place: Crowd, longest_bytes: int) -> Proxy:
    """A proxy whose connections break after some random number of bytes."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # shown when the test fails
    chance = random.Random(seed)
    return Proxy(place.teppan.ports["bookings"], lambda: chance.randint(1, longest_bytes))


async def read(driver: Driver, proxy: Proxy, token: str, request: pb.ListBookingsRequest) -> Pages:
    """A list, through the proxy."""
    try:
        stub: Any = bookings_pb2_grpc.BookingsServiceStub(driver.channel(f"127.0.0.1:{proxy.port}", token=token))
        return await driver.pages(stub.ListBookings, request)
    finally:
        await driver.close()


def check(pages: Pages, order: Any, steady: set[str]) -> set[str]:
    """Fails unless the pages are in order, no booking comes twice, and every steady one comes. What came."""
    keys = [(booking.start_time.ToNanoseconds(), booking.booking_id) for page in pages for booking in page.bookings]
    assert len(set(keys)) == len(keys), "a booking comes twice"
    assert keys == sorted(keys, reverse=order == DESC), "the order is broken"
    came = {booking_id for _, booking_id in keys}
    assert steady <= came, f"{len(steady - came)} bookings are missing"
    assert not pages[-1].next_page_token
    return came


async def torn(place: Crowd, *, cuts: int, page_size: int, longest_bytes: int) -> None:
    """Reads the list, by both clients, in both orders, with and without a filter, until so many connections were cut."""
    came: set[str] = set()
    turns: Iterator[tuple[Any, Any, type[Driver]]] = itertools.cycle(itertools.product([ASC, DESC], [UNCANCELLED, []], [Aio, Sync]))
    with cutting(place, longest_bytes) as proxy:
        async with place.written():
            while proxy.cuts < cuts:
                order, states, driver = next(turns)
                request = pb.ListBookingsRequest(station_id=place.station, order_by=order, states=states, page_size=page_size)
                before = place.fixed | place.made
                pages = await read(driver(), proxy, place.token, request)
                came |= check(pages, order, before - place.cancelled if states else before)
    assert place.made, "nobody wrote"
    assert place.cancelled <= place.made
    assert came <= place.fixed | place.made


async def test_a_list_that_is_cut_at_random_has_every_booking_once_in_order(teppan: Teppan) -> None:
    await torn(await crowd(teppan, 500), cuts=40, page_size=20, longest_bytes=20_000)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_list_of_ten_thousand_that_is_cut_a_thousand_times_has_every_booking_once_in_order(teppan: Teppan) -> None:
    await torn(await crowd(teppan, 10_000), cuts=1_000, page_size=50, longest_bytes=50_000)


# Whether the check would notice ----------------------------------------------------------------------------------------

Page = pb.ListBookingsResponse


@pytest.fixture(scope="module")
async def quiet(teppan: Teppan) -> Crowd:
    """Nobody writes there."""
    return await crowd(teppan, 300)


def no_harm(page: Page, before: Page) -> None:
    """It stays as it is."""


def first_row_is_lost(page: Page, before: Page) -> None:
    del page.bookings[0]


def last_row_is_lost(page: Page, before: Page) -> None:
    del page.bookings[-1]


def page_is_lost(page: Page, before: Page) -> None:
    del page.bookings[:]


def row_comes_again(page: Page, before: Page) -> None:
    page.bookings.insert(0, before.bookings[-1])


def page_comes_again(page: Page, before: Page) -> None:
    page.bookings.MergeFrom(before.bookings)


def rows_change_places(page: Page, before: Page) -> None:
    page.bookings.reverse()


async def harmed(pages: AsyncIterator[Page], proxy: Proxy, harm: Callable[[Page, Page], None]) -> Pages:
    """What a client would give that resumes wrongly: the page after a cut is harmed."""
    found: Pages = []
    async for page in pages:
        if len(found) == 6:
            harm(page, found[-1])
        found.append(page)
        if len(found) == 6:
            proxy.cut()
    assert proxy.cuts == 1
    return found


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (no_harm, None), (first_row_is_lost, "1 bookings are missing"), (last_row_is_lost, "1 bookings are missing"),
        (page_is_lost, "10 bookings are missing"), (row_comes_again, "comes twice"), (page_comes_again, "comes twice"),
        (rows_change_places, "order is broken"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("order", [ASC, DESC])
async def test_a_list_that_is_resumed_wrongly_is_noticed(
    quiet: Crowd, harm: Callable[[Page, Page], None], said: str | None, order: Any
) -> None:
    request = pb.ListBookingsRequest(station_id=quiet.station, order_by=order, page_size=10)
    with Proxy(quiet.teppan.ports["bookings"]) as proxy:
        async with aio.channel(f"127.0.0.1:{proxy.port}", token=quiet.token) as channel:
            stub: Any = bookings_pb2_grpc.BookingsServiceStub(channel)
            found = await harmed(aio.pages(stub.ListBookings, request), proxy, harm)
    with pytest.raises(AssertionError, match=said) if said else nullcontext():
        assert check(found, order, quiet.fixed) == quiet.fixed
