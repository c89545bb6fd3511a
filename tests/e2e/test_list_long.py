"""The list of ten thousand, at every page size, resumed at every boundary."""

import asyncio
from dataclasses import replace

import pytest
from demo import listing, load
from demo.calls import Backend, bearer
from demo.scene import Scene
from teppan.bookings.v1 import bookings_pb2

from tests.deployed import Deployment
from tests.traffic import own_station

BOOKINGS = 10_000
AT_ONCE = 16


@pytest.fixture(scope="module")
async def full(running: Deployment, backend: Backend, stage: Scene) -> tuple[Scene, list[bookings_pb2.Booking]]:
    """A station of its own, and its bookings."""
    admin = (await asyncio.to_thread(running.describe))["token"]
    scene = await own_station(backend, replace(stage, admin=admin), "Long")
    made = await load.book(backend, admin, await load.wanted(backend, scene, BOOKINGS), lambda: None)
    return scene, list(made)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page_size", [1000, 101, 100, 99, 3, 2, 1])
async def test_ten_thousand_are_listed_in_order_and_resumed_at_every_boundary(
    backend: Backend, full: tuple[Scene, list[bookings_pb2.Booking]], page_size: int
) -> None:
    scene, made = full
    pages = [page async for page in listing.stream(backend, scene.admin, scene.main.station_id, page_size=page_size)]
    listing.expect([booking.booking_id for page in pages for booking in page.bookings], made)
    assert all(len(page.bookings) == page_size for page in pages[:-1])
    free = asyncio.Semaphore(AT_ONCE)

    async def resumed(n: int) -> None:
        request = bookings_pb2.ListBookingsRequest(
            station_id=scene.main.station_id, order_by=bookings_pb2.BOOKING_ORDER_START_TIME_ASC, page_size=page_size,
            page_token=pages[n].next_page_token, page_limit=1,
        )  # fmt: skip
        async with free:
            call = backend.method("bookings.ListBookings")(request, metadata=bearer(scene.admin))
            got = [page async for page in call]
        assert [list(page.bookings) for page in got] == [list(pages[n + 1].bookings)]
        assert bool(got[0].next_page_token) == (n + 2 < len(pages))

    await asyncio.gather(*(resumed(n) for n in range(len(pages) - 1)))
