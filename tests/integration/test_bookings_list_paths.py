"""Two ways to make a list, as bytes and in Python: both send the same, wherever a page or a batch ends."""

import io
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from google.type.timeofday_pb2 import TimeOfDay
from teppan.bookings.v1 import bookings_pb2 as pb

from bookings.store import listing
from bookings.wire.bookings import plan
from bookings.wire.listing import encoded_to_pb, list_query_from_pb, page_to_pb, pager_of
from dbcommon import encoded
from dbcommon.database import Database
from dbcommon.keyset import Keyset, pages
from pages import Tokens
from rowwire import CopyReader, Encoder, Plan
from rpccommon.paging import Pager
from tests.integration.stage import Teppan, day, eventually
from tests.unit.rpc_bookings import lines, logged

COUNT, SLOTS_A_DAY, AT_ONE_START = 23, 4, 3
ASC, DESC = pb.BOOKING_ORDER_START_TIME_ASC, pb.BOOKING_ORDER_START_TIME_DESC
Make = Callable[[Plan], Encoder]


async def booked(teppan: Teppan) -> str:
    """A station with so many bookings."""
    station = await teppan.station()
    await teppan.week(station, slots_a_day=SLOTS_A_DAY, capacity=AT_ONE_START)
    customer = await teppan.customer(station)
    for number in range(COUNT):
        days, slot = divmod(number // AT_ONE_START, SLOTS_A_DAY)
        await teppan.booking(station, customer, date=day(10 + days), slot_start=TimeOfDay(hours=slot * 24 // SLOTS_A_DAY))
    return station


@pytest.fixture(scope="module")
async def station(teppan: Teppan) -> str:
    """A station with so many bookings."""
    return await booked(teppan)


@pytest.fixture
async def app(teppan: Teppan, reader: CopyReader | None) -> AsyncIterator[Database]:
    """The database of bookings, as its application sees it."""
    made = Database(teppan.server.url(teppan.database, "bookings_app"), reader=reader)
    yield made
    await made.close()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with logged() as stream:
        yield stream


def of(request: pb.ListBookingsRequest) -> tuple[Keyset, Pager]:
    """What a list is made from, with a clock that stands still: so are its tokens always the same."""
    pager = pager_of(request, Tokens(b"k" * 32, lambda: datetime(2026, 1, 1, tzinfo=UTC)))
    return listing.keyset(list_query_from_pb(request, pager)), pager


def _key(booking: pb.Booking) -> tuple[datetime, UUID]:
    return booking.start_time.ToDatetime(UTC), UUID(booking.booking_id)


@pytest.mark.parametrize("order", [ASC, DESC])
@pytest.mark.parametrize("size", [1, 3, 10, COUNT, 1_000])
@pytest.mark.parametrize("batch", [1, 9, 8_000])
async def test_both_ways_send_the_same_pages(
    app: Database, station: str, make_encoder: Make, monkeypatch: pytest.MonkeyPatch, batch: int, size: int, order: Any
) -> None:  # fmt: skip
    monkeypatch.setattr(encoded, "BATCH_ROWS_MAX", batch)
    monkeypatch.setattr(encoded, "WAITS_A_PAGE", 1)
    keyset, pager = of(pb.ListBookingsRequest(station_id=station, page_size=size, order_by=order))
    encoder = make_encoder(plan(listing.TYPED))
    as_bytes = [encoded_to_pb(page, pager) async for page in encoded.encoded(app, keyset, encoder)]
    in_python = [message async for page in pages(app, keyset) async for message in page_to_pb(page, pager)]
    assert as_bytes == [message.SerializeToString(deterministic=True) for message in in_python]
    assert sum(len(message.bookings) for message in in_python) == COUNT


@pytest.mark.parametrize("bytes_max", [1, 700])
async def test_a_page_that_would_be_too_large_becomes_several_wherever_its_batch_ends(
    app: Database, station: str, make_encoder: Make, monkeypatch: pytest.MonkeyPatch, bytes_max: int
) -> None:  # fmt: skip
    monkeypatch.setattr(encoded, "PAGE_BYTES_MAX", bytes_max)
    monkeypatch.setattr(encoded, "BATCH_ROWS_MAX", 9)
    keyset, pager = of(pb.ListBookingsRequest(station_id=station, page_size=4, order_by=ASC))
    made = [page async for page in encoded.encoded(app, keyset, make_encoder(plan(listing.TYPED)))]
    shown = [pb.ListBookingsResponse.FromString(page.body).bookings for page in made]
    whole = [message async for page in pages(app, keyset) async for message in page_to_pb(page, pager)]
    assert [booking for some in shown for booking in some] == [booking for message in whole for booking in message.bookings]
    assert all(len(some) == 1 or len(page.body) <= bytes_max for some, page in zip(shown, made, strict=True))
    assert [page.next for page in made[:-1]] == [_key(some[-1]) for some in shown[:-1]]
    assert made[-1].next is None


async def test_a_service_that_is_told_to_make_lists_in_python_does(
    own: Teppan, monkeypatch: pytest.MonkeyPatch, log: io.StringIO
) -> None:  # fmt: skip
    station = await booked(own)
    request = pb.ListBookingsRequest(station_id=station, page_size=4, page_limit=3)

    async def listed() -> list[Any]:
        return [page.bookings async for page in own.bookings.ListBookings(request, metadata=own.member(station))]

    before = await listed()
    await own.stop("bookings")
    environ = own.environ("bookings") | {"TEPPAN_LIST_PATH": "python"}
    monkeypatch.setattr(own, "environ", lambda _: environ)
    await own.start("bookings")
    await own.channels["bookings"].channel_ready()
    assert await eventually(listed) == before
    assert [len(page) for page in before] == [4, 4, 4]
    assert [line["path"] for line in lines(log, "lists")] == ["rows are encoded in Python, as TEPPAN_LIST_PATH=python says"]
