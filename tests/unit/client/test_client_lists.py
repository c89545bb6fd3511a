"""A list is read whole, each row once and in order, wherever and however it breaks."""

import asyncio
import math
import time
from contextlib import aclosing
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.bookings.v1 import bookings_pb2_grpc
from teppan.client import aio, lists, pages, refusal
from teppan.client.attempts import PATIENCE_SECONDS
from teppan.client.refusals import Refusal
from teppan.client.traversal import Traversal
from teppan.identity.v1 import stations_pb2, stations_pb2_grpc

from tests.unit.client.drivers import Driver, counted, failure
from tests.unit.client.fakes import ALL, PAGE_SIZE, PAGES, Act, Break, Clock, Fake, fail, hold, ids
from tests.unit.client.proxy import Proxy

LIST = pb.ListBookingsRequest(station_id="s0")
RESUMABLE: list[Act | None] = [
    fail(StatusCode.UNAVAILABLE),
    fail(StatusCode.UNAVAILABLE, "SERVER_STOPPING", 0.01),
    fail(StatusCode.CANCELLED),
    fail(StatusCode.INTERNAL),
    fail(StatusCode.DEADLINE_EXCEEDED),
    None,  # it says OK, and that was all
]
DOWN = Refusal(code="UNAVAILABLE")


def bookings(client: Driver, address: str, **options: Any) -> Any:
    return bookings_pb2_grpc.BookingsServiceStub(client.channel(address, **options))


def asked(fake: Fake) -> list[str]:
    """The tokens that the list was asked for with."""
    return [seen.request.page_token for seen in fake.seen]


async def test_a_list_that_does_not_break_is_one_call(client: Driver, fake: Fake) -> None:
    found = await client.pages(bookings(client, fake.address).ListBookings, LIST)
    assert ids(found) == ALL
    assert len(found) == PAGES
    assert asked(fake) == [""]


@pytest.mark.parametrize("how", RESUMABLE)
@pytest.mark.parametrize("after", range(PAGES))
async def test_a_list_is_resumed_at_every_boundary(client: Driver, fake: Fake, after: int, how: Act | None) -> None:
    fake.plan("ListBookings", Break(after, how))
    assert ids(await client.pages(bookings(client, fake.address).ListBookings, LIST)) == ALL
    assert asked(fake) == ["", str(after * PAGE_SIZE) if after else ""]
    assert [seen.request.station_id for seen in fake.seen] == ["s0", "s0"]


@pytest.mark.parametrize("after", range(PAGES))
async def test_a_dropped_connection_is_resumed_from(client: Driver, fake: Fake, after: int) -> None:
    with Proxy(fake.port) as proxy:

        def drop(context: grpc.ServicerContext) -> None:
            proxy.cut()
            hold(context)

        fake.plan("ListBookings", Break(after, drop))
        assert ids(await client.pages(bookings(client, f"127.0.0.1:{proxy.port}").ListBookings, LIST)) == ALL
    assert proxy.cuts > 0
    assert len(fake.seen) == 2


async def test_a_list_that_breaks_after_every_page_is_read_all_the_same(client: Driver, fake: Fake) -> None:
    fake.plan("ListBookings", *[Break(1, how) for how in RESUMABLE[: PAGES - 1]])
    assert ids(await client.pages(bookings(client, fake.address).ListBookings, LIST)) == ALL
    assert asked(fake) == [str(number * PAGE_SIZE) if number else "" for number in range(PAGES)]


async def test_the_callers_request_stays_as_it_is(client: Driver, fake: Fake) -> None:
    request = pb.ListBookingsRequest(page_token=str(2 * PAGE_SIZE), page_limit=2)
    fake.plan("ListBookings", Break(1))
    assert ids(await client.pages(bookings(client, fake.address).ListBookings, request)) == ALL[2 * PAGE_SIZE : 4 * PAGE_SIZE]
    assert request == pb.ListBookingsRequest(page_token=str(2 * PAGE_SIZE), page_limit=2)


@pytest.mark.parametrize("code", [StatusCode.INVALID_ARGUMENT, StatusCode.PERMISSION_DENIED, StatusCode.INTERNAL])
async def test_a_refusal_ends_a_list_at_once(client: Driver, fake: Fake, code: StatusCode) -> None:
    fake.plan("ListBookings", Break(2, fail(code, "BUG")))
    read: list[Any] = []
    error = await failure(client.pages(bookings(client, fake.address).ListBookings, LIST, read))
    assert (error.code(), refusal(error).reason) == (code, "BUG")
    assert ids(read) == ALL[: 2 * PAGE_SIZE]
    assert len(fake.seen) == 1


@pytest.mark.parametrize("how", [fail(StatusCode.INTERNAL, "BUG"), fail(StatusCode.UNAVAILABLE, "FEED_STALE", 30)])
@pytest.mark.parametrize("limit", [0, 2])
async def test_a_list_that_is_complete_is_not_spoilt_by_the_end_of_its_call(
    client: Driver, fake: Fake, how: Act, limit: int
) -> None:
    fake.plan("ListBookings", Break(limit or PAGES, how))
    began = time.monotonic()
    found = await client.pages(bookings(client, fake.address).ListBookings, pb.ListBookingsRequest(page_limit=limit))
    assert ids(found) == ALL[: limit * PAGE_SIZE or None]
    assert len(fake.seen) == 1
    assert time.monotonic() - began < 15


async def test_a_list_is_asked_for_as_its_request_was_at_the_call(client: Driver, fake: Fake) -> None:
    request = pb.ListBookingsRequest(station_id="s0")
    reading = client.api.pages(bookings(client, fake.address).ListBookings, request)
    request.station_id = "s1"
    assert await client.all(reading)
    assert fake.seen[0].request.station_id == "s0"


@pytest.mark.parametrize("seconds", [math.inf, math.nan, 1e300, 0, -1])
async def test_a_patience_that_nobody_has_is_refused(client: Driver, fake: Fake, seconds: float) -> None:
    method = bookings(client, fake.address).ListBookings
    with pytest.raises(ValueError, match="patience_seconds is a positive number of seconds"):
        client.api.pages(method, LIST, patience_seconds=seconds)
    with pytest.raises(ValueError, match="patience_seconds is a positive number of seconds"):
        await client.page(method, LIST, patience_seconds=seconds)
    assert not fake.seen


@pytest.mark.parametrize("how", [fail(StatusCode.UNAVAILABLE, "FEED_STALE", 0.01), None, hold])
async def test_without_progress_patience_ends(client: Driver, fake: Fake, how: Act | None) -> None:
    list_bookings = bookings(client, fake.address).ListBookings
    await client.page(list_bookings, LIST)  # connects
    fake.seen.clear()
    fake.plan("ListBookings", Break(2), *[Break(0, how)] * 200)
    read: list[Any] = []
    error = await failure(client.pages(list_bookings, LIST, read, patience_seconds=0.8))
    assert error.code() is StatusCode.UNAVAILABLE  # where the rest only hangs, it is the break that is told of
    assert ids(read) == ALL[: 2 * PAGE_SIZE]
    assert len(fake.seen) > 1
    assert all(seen.seconds_left is not None and seen.seconds_left < 0.9 for seen in fake.seen)


class Slowly(list[Any]):
    """A reader who takes longer for each page than a list may take to bring one, by this clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def append(self, page: Any) -> None:
        self._clock.now += 2 * PATIENCE_SECONDS
        super().append(page)


async def test_the_readers_own_time_costs_no_patience(client: Driver, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Slowly(clock := Clock())
    monkeypatch.setattr(lists, "time", clock)
    monkeypatch.setattr(aio.lists, "time", clock)
    fake.plan("ListBookings", Break(1, fail(StatusCode.UNAVAILABLE)), Break(1, fail(StatusCode.UNAVAILABLE)))
    await client.pages(bookings(client, fake.address).ListBookings, LIST, read)
    assert ids(read) == ALL


async def test_what_the_last_break_said_is_raised(client: Driver, fake: Fake) -> None:
    fake.plan("ListBookings", Break(1), Break(0, fail(StatusCode.UNAVAILABLE, "FEED_STALE", 90)))
    error = await failure(client.pages(bookings(client, fake.address).ListBookings, LIST))
    assert refusal(error).reason == "FEED_STALE"


@pytest.mark.parametrize("limit", [1, 2, PAGES - 1, PAGES, PAGES + 1])
@pytest.mark.parametrize("broken", [0, 1])
async def test_a_limit_counts_pages_over_all_breaks(client: Driver, fake: Fake, limit: int, broken: int) -> None:
    fake.plan("ListBookings", *[Break(1)] * broken)
    found = await client.pages(bookings(client, fake.address).ListBookings, pb.ListBookingsRequest(page_limit=limit))
    assert ids(found) == ALL[: limit * PAGE_SIZE]
    assert [seen.request.page_limit for seen in fake.seen] == [limit, limit - 1][: 1 + (broken if limit > 1 else 0)]


async def test_a_list_of_single_answers_is_read_page_by_page(client: Driver, fake: Fake) -> None:
    stub = stations_pb2_grpc.StationsServiceStub(client.channel(fake.address))
    fake.plan("ListStations", None, fail(StatusCode.UNAVAILABLE), None)
    found = await client.pages(stub.ListStations, stations_pb2.ListStationsRequest())
    assert [page.stations[0].station_id for page in found] == ["s0", "s1", "s2"]
    assert asked(fake) == ["", "1", "1", "2"]


async def test_a_page_is_one_and_leads_to_the_next(client: Driver, fake: Fake) -> None:
    stub = bookings(client, fake.address)
    fake.plan("ListBookings", Break(0), Break(0, fail(StatusCode.CANCELLED)))
    first = await client.page(stub.ListBookings, LIST)
    second = await client.page(stub.ListBookings, pb.ListBookingsRequest(page_token=first.next_page_token))
    assert ids([first, second]) == ALL[: 2 * PAGE_SIZE]
    assert [seen.request.page_limit for seen in fake.seen] == [1] * 4
    assert LIST.page_limit == 0
    stations = stations_pb2_grpc.StationsServiceStub(client.channel(fake.address))
    only = await client.page(stations.ListStations, stations_pb2.ListStationsRequest())
    assert [station.station_id for station in only.stations] == ["s0"]


async def test_a_list_that_is_closed_ends_its_call(client: Driver, fake: Fake) -> None:
    fake.plan("ListBookings", Break(2, hold))
    stub, calls = bookings(client, fake.address), []

    def method(*asked: Any, **options: Any) -> Any:
        calls.append(stub.ListBookings(*asked, **options))  # kept: a call that nobody knows any more ends by itself
        return calls[-1]

    found = await client.first_pages(method, LIST, 2)
    assert ids(found) == ALL[: 2 * PAGE_SIZE]
    await counted(fake.ended)
    assert len(fake.seen) == 1


async def test_a_cancelled_reader_ends_the_call(fake: Fake) -> None:
    fake.plan("ListBookings", Break(0, hold))
    async with aio.channel(fake.address) as made, aclosing(aio.pages(stub_of(made).ListBookings, LIST)) as reading:
        task = asyncio.create_task(anext(reading))
        await counted(fake.entered)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await counted(fake.ended)
    assert len(fake.seen) == 1


def stub_of(made: Any) -> Any:
    return bookings_pb2_grpc.BookingsServiceStub(made)


def test_a_channel_of_another_make_does_too(fake: Fake) -> None:
    fake.plan("ListBookings", Break(0, fail(StatusCode.UNAVAILABLE)), Break(3), Break(0, fail(StatusCode.CANCELLED)))
    with grpc.insecure_channel(fake.address) as made:
        assert ids(list(pages(stub_of(made).ListBookings, LIST, metadata=(("x-own", "1"),)))) == ALL
    assert [seen.metadata["x-own"] for seen in fake.seen] == ["1"] * 4


# Patience, without a server --------------------------------------------------------------------------------------------


def page(token: str) -> pb.ListBookingsResponse:
    return pb.ListBookingsResponse(next_page_token=token)


def test_patience_begins_anew_with_every_page_and_does_not_count_the_readers_time() -> None:
    traversal = Traversal(LIST, 60, 0)
    assert traversal.timeout(10) == 50
    traversal.took(page("a"))
    traversal.waits(500)  # the reader took its time
    assert traversal.timeout(510) == 50
    assert traversal.pause(DOWN, 559) == 0  # it had brought a page: at once
    assert traversal.timeout(559) == 60  # the page that was under way has to be made again
    assert traversal.pause(DOWN, 559) != 0
    assert traversal.pause(DOWN, 619) is None


def test_a_list_that_has_come_further_waits_as_long_as_it_is_told_to() -> None:
    traversal = Traversal(LIST, 60, 0)
    traversal.took(page("a"))
    assert (traversal.pause(Refusal(code="UNAVAILABLE", retry_seconds=3), 5) or 0) >= 3


def test_a_stream_that_goes_silent_after_a_page_ends_with_the_patience() -> None:
    traversal = Traversal(LIST, 60, 0)
    traversal.took(page("a"))
    traversal.waits(5)
    assert traversal.pause(Refusal(code="DEADLINE_EXCEEDED"), 65) is None
