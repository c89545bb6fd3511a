"""Traffic for a stack that is being broken or restarted: what callers do at once, what they saw, and whether it holds together."""

import asyncio
import random
import string
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
from demo.calls import Backend, bearer, new_id
from demo.scene import Place, Scene, customer, week
from teppan.bookings.v1 import bookings_pb2, bookings_pb2_grpc
from teppan.client import aio
from teppan.identity.v1 import stations_pb2
from teppan.payments.v1 import payments_pb2, payments_pb2_grpc

PAUSE_SECONDS = 0.02
PAID_EACH = 5
PAGE_SIZE = 200


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a service is reached."""

    addresses: Sequence[str]
    """One, or those of several replicas."""
    tls: aio.Tls | None


@dataclass
class Seen:
    """What callers saw."""

    made: dict[str, bookings_pb2.Booking] = field(default_factory=dict)
    paid: list[str] = field(default_factory=list)
    got: int = 0
    lists: int = 0
    failed: list[str] = field(default_factory=list)
    """Calls of clients that should never fail."""
    bare: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """What clients without any retry were told, by method, code and reason."""

    def figures(self) -> str:
        """How much it was."""
        bare = "".join(f", bare {' '.join(filter(None, told))} {count}" for told, count in self.bare.items())
        return f"{len(self.made)} created, {len(self.paid)} paid, {self.got} got, {self.lists} whole lists{bare}"


class Traffic:
    """Callers through `teppan.client`, and bare ones through generated stubs alone, until it is left."""

    def __init__(
        self, ways: Mapping[str, Way], scene: Scene,
        requests: Iterator[bookings_pb2.CreateBookingRequest], full: Sequence[str], *, bare: bool = False,
    ) -> None:  # fmt: skip
        """`requests` are for bookings to make, of a station that has these `full` ones, by start, already."""
        self._scene, self._todo, self._full, self._bare = scene, requests, list(full), bare
        self._ways = ways
        self._ending = asyncio.Event()
        self._open = AsyncExitStack()
        self.seen = Seen()

    async def __aenter__(self) -> Self:
        """Begins."""
        made = {
            name: await self._open.enter_async_context(aio.channel(way.addresses, token=self._scene.admin, tls=way.tls))
            for name, way in self._ways.items()
        }
        self._bookings = bookings_pb2_grpc.BookingsServiceStub(made["bookings"])
        self._payments = payments_pb2_grpc.PaymentsServiceStub(made["payments"])
        callers = [self._create, self._create, self._get, self._list]
        if self._bare:
            plain = await self._open.enter_async_context(bare_channel(self._ways["bookings"]))
            self._stub: Any = bookings_pb2_grpc.BookingsServiceStub(plain)
            callers += [self._bare_unary, self._bare_list]
        self._tasks = [asyncio.create_task(self._repeat(caller)) for caller in callers]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends: everybody finishes what they are at."""
        self._ending.set()
        await asyncio.gather(*self._tasks)
        await self._open.aclose()

    async def _repeat(self, call: Callable[[], Awaitable[None]]) -> None:
        while not self._ending.is_set():
            try:
                await call()
            except grpc.RpcError as error:
                self.seen.failed.append(f"{call.__name__}: {aio.refusal(error)}")
            except AssertionError as wrong:
                self.seen.failed.append(f"{call.__name__}: {wrong}")
            await asyncio.sleep(PAUSE_SECONDS)

    async def _create(self) -> None:
        request = next(self._todo)
        booking = (await self._bookings.CreateBooking(request)).booking
        self.seen.made[request.request_id] = booking
        if len(self.seen.made) % PAID_EACH == 0:
            await self._payments.CreatePayment(deposit(booking))
            self.seen.paid.append(booking.booking_id)

    async def _get(self) -> None:
        booking_id = random.choice(self._full)
        request = bookings_pb2.GetBookingRequest(station_id=self._scene.main.station_id, booking_id=booking_id)
        assert (await self._bookings.GetBooking(request)).booking.booking_id == booking_id
        self.seen.got += 1

    async def _list(self) -> None:
        """What was there all the time comes once, in order."""
        found = [
            booking.booking_id async for page in aio.pages(self._bookings.ListBookings, self._whole()) for booking in page.bookings
        ]
        assert len(found) == len(set(found)), "a booking came twice"
        there = set(self._full)
        assert [each for each in found if each in there] == self._full, "a booking is missing, or out of order"
        self.seen.lists += 1

    async def _bare_unary(self) -> None:
        booking_id = random.choice(self._full)
        request = bookings_pb2.GetBookingRequest(station_id=self._scene.main.station_id, booking_id=booking_id)
        await self._noted("GetBooking", self._stub.GetBooking(request, timeout=10, metadata=bearer(self._scene.admin)))

    async def _bare_list(self) -> None:
        await self._noted("ListBookings", self._bare_pages())

    async def _bare_pages(self) -> None:
        last = None
        async for page in self._stub.ListBookings(self._whole(), metadata=bearer(self._scene.admin)):
            last = page
        assert last is not None, "a stream ended as if complete, and had no page"
        assert not last.next_page_token, "a stream ended as if complete, and is not"

    async def _noted(self, method: str, call: Awaitable[object]) -> None:
        code, reason = "OK", ""
        try:
            await call
        except grpc.aio.AioRpcError as error:
            told = aio.refusal(error)
            code, reason = told.code, told.reason or told.message
        self.seen.bare[method, code, reason] += 1

    def _whole(self) -> bookings_pb2.ListBookingsRequest:
        return bookings_pb2.ListBookingsRequest(
            station_id=self._scene.main.station_id, order_by=bookings_pb2.BOOKING_ORDER_START_TIME_ASC, page_size=PAGE_SIZE
        )


def bare_channel(way: Way) -> grpc.aio.Channel:
    """A channel as it comes."""
    [address] = way.addresses
    if way.tls is None:
        return grpc.aio.insecure_channel(address)
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(way.tls.ca))


async def new_station(backend: Backend, token: str, name: str) -> str:
    """A station that others have not heard of, perhaps; its ID."""
    code = "".join(random.choices(string.ascii_uppercase, k=12))
    new = stations_pb2.CreateStationRequest(
        request_id=new_id(), code=code, name=name, time_zone="Europe/Paris", currency_code="EUR"
    )
    return str((await backend.call("stations.CreateStation", new, token)).station.station_id)


async def own_station(backend: Backend, cast: Scene, name: str) -> Scene:
    """A station of a test's own, of twelve slots a day, and a guest."""
    station = await new_station(backend, cast.admin, name)
    await backend.call("slots.UpdateSchedule", week(station), cast.admin)
    guest = await customer(backend, cast.admin, station, 0)
    place = Place(station_id=station, name=name, currency_code="EUR", customers=(guest,))
    return Scene(admin=cast.admin, tokens={"agent": cast.admin}, places=(place,))


def deposit(made: bookings_pb2.Booking) -> payments_pb2.CreatePaymentRequest:
    """The deposit of a booking, in cash."""
    return payments_pb2.CreatePaymentRequest(
        request_id=new_id(),
        station_id=made.station_id,
        booking_id=made.booking_id,
        amount_minor=made.deposit_minor,
        kind=payments_pb2.PAYMENT_KIND_DEPOSIT,
        method=payments_pb2.PAYMENT_METHOD_CASH,
        currency_code=made.currency_code,
    )


async def state_of(backend: Backend, token: str, station_id: str, booking_id: str) -> int:
    request = bookings_pb2.GetBookingRequest(station_id=station_id, booking_id=booking_id)
    return int((await backend.call("bookings.GetBooking", request, token)).booking.state)
