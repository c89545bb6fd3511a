"""The list of ten thousand, at every page size, resumed at every boundary."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from demo import listing, load
from demo.calls import Backend, bearer
from demo.scene import Scene
from teppan.bookings.v1 import bookings_pb2

from bookings.store.listing import TYPED, keyset
from bookings.wire.bookings import plan
from bookings.wire.listing import encoded_to_pb, list_query_from_pb, page_to_pb, pager_of
from dbcommon.database import Database
from dbcommon.encoded import encoded
from dbcommon.keyset import pages
from local.stack import Stack
from pages import Tokens
from rowwire import Encoder, Plan
from tests.deployed import IN_CONTAINERS, Deployment
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
    found = [page async for page in listing.stream(backend, scene.admin, scene.main.station_id, page_size=page_size)]
    listing.expect([booking.booking_id for page in found for booking in page.bookings], made)
    assert all(len(page.bookings) == page_size for page in found[:-1])
    free = asyncio.Semaphore(AT_ONCE)

    async def resumed(n: int) -> None:
        request = bookings_pb2.ListBookingsRequest(
            station_id=scene.main.station_id, order_by=bookings_pb2.BOOKING_ORDER_START_TIME_ASC, page_size=page_size,
            page_token=found[n].next_page_token, page_limit=1,
        )  # fmt: skip
        async with free:
            call = backend.method("bookings.ListBookings")(request, metadata=bearer(scene.admin))
            got = [page async for page in call]
        assert [list(page.bookings) for page in got] == [list(found[n + 1].bookings)]
        assert bool(got[0].next_page_token) == (n + 2 < len(found))

    await asyncio.gather(*(resumed(n) for n in range(len(found) - 1)))


@pytest.mark.long
@pytest.mark.skipif(IN_CONTAINERS, reason="of the embedded stack: its database is read as the service reads it")
async def test_ten_thousand_are_the_same_bytes_both_ways(
    embedded: Stack, full: tuple[Scene, list[bookings_pb2.Booking]], make_encoder: Callable[[Plan], Encoder]
) -> None:
    scene, made = full
    request = bookings_pb2.ListBookingsRequest(station_id=scene.main.station_id, page_size=1_000)
    pager = pager_of(request, Tokens(b"k" * 32, lambda: datetime(2026, 1, 1, tzinfo=UTC)))
    listed = keyset(list_query_from_pb(request, pager))
    app = Database(embedded.server.url(embedded.database, "bookings_app"))
    as_bytes = [encoded_to_pb(page, pager) async for page in encoded(app, listed, make_encoder(plan(TYPED)))]
    in_python = [message async for page in pages(app, listed) async for message in page_to_pb(page, pager)]
    await app.close()
    assert as_bytes == [message.SerializeToString(deterministic=True) for message in in_python]
    assert sum(len(message.bookings) for message in in_python) == len(made) == BOOKINGS
