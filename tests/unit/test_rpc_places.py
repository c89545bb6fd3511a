"""Who gets a place when there are fewer than callers, who waits, and who is refused at once."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import grpc
import pytest
from teppan.bookings.v1 import bookings_pb2, bookings_pb2_grpc

from faults import Overloaded
from rpccommon.acceptors import CALLS_OF_CONNECTION_MAX
from rpccommon.places import KNOWN_SECONDS, PATIENCE_SECONDS, WAITING_MAX, Limits, Places
from tests.unit.rpc_bookings import CANCEL, GET, LIST, VIEWER, Bookings, failure
from tests.unit.rpc_stage import OTHER_STATION, Stage, bearer, details, stage, user
from tests.unit.test_rpc_waiting import begun

AGENT = bearer(user(station=2))


@pytest.fixture
async def on(bookings: Bookings) -> AsyncIterator[Stage]:
    async with stage(bookings, limits=Limits(reads=2, writes=1, streams=3, streams_of_caller=2)) as running:
        yield running


def test_a_call_is_not_begun_that_has_less_time_than_calls_take() -> None:
    places = Places("calls", 1)
    places.refuse_late(0.001, 0.0)  # nothing is known yet
    assert places.take("a")
    places.leave("a", 20.0)  # so on average they take 1 s
    now = time.monotonic()
    places.refuse_late(now + 0.5, now)  # there is a free place
    assert places.take("a")
    places.refuse_late(now + 2, now)
    with pytest.raises(Overloaded):
        places.refuse_late(now + 0.5, now)
    later = now + KNOWN_SECONDS + 0.1
    places.refuse_late(later + 0.5, later)  # where all are refused, one has to show that it holds no more


async def test_a_place_is_taken_at_once_while_there_is_one_and_passed_on_when_it_is_free() -> None:
    places = Places("calls", 2)
    await places.enter("a", None)
    await places.enter("a", None)
    third = asyncio.create_task(places.enter("a", None))
    assert not await begun(third)
    places.leave("a", 0.01)
    assert await begun(third)


async def test_while_others_wait_a_tenant_has_half_of_the_places_at_most() -> None:
    places = Places("calls", 4)
    noisy = [asyncio.create_task(places.enter("noisy", None)) for _ in range(12)]
    quiet: list[asyncio.Task[None]] = []
    await begun(noisy[0])
    assert sum(task.done() for task in noisy) == 4, "nobody else was there"
    quiet = [asyncio.create_task(places.enter("quiet", None)) for _ in range(4)]
    await begun(quiet[0])
    for _ in range(2):
        places.leave("noisy", 0.01)
    await begun(quiet[0])
    assert sum(task.done() for task in quiet) == 2
    assert sum(task.done() for task in noisy) == 4, "two of them are over: it has its half"
    places.leave("quiet", 0.01)
    await begun(quiet[0])
    assert sum(task.done() for task in quiet) == 3
    for task in (*noisy, *quiet):
        task.cancel()


async def test_those_who_wait_take_turns_by_tenant() -> None:
    places, order = Places("calls", 1), []

    async def call(tenant: str) -> None:
        await places.enter(tenant, None)
        order.append(tenant)
        places.leave(tenant, 0.0001)

    await places.enter("x", None)
    waiting = [asyncio.create_task(call(tenant)) for tenant in ("a", "a", "a", "b", "b", "c")]
    await begun(waiting[0])
    places.leave("x", 0.0001)
    await asyncio.gather(*waiting)
    assert order == ["a", "b", "c", "a", "b", "a"]


async def test_what_cannot_be_answered_in_time_is_refused_at_once() -> None:
    places = Places("calls", 1)
    await places.enter("a", None)
    for _ in range(200):
        places._seconds += 0.1 * (0.5 - places._seconds)  # calls take half a second
    with pytest.raises(Overloaded) as refused:
        await places.enter("a", 0.4)
    assert refused.value.retry_seconds is not None
    assert 0.5 <= refused.value.retry_seconds <= 1.5
    assert refused.value.metadata == {"limit": "1"}
    waits = asyncio.create_task(places.enter("a", 10.0))
    assert not await begun(waits)
    waits.cancel()


async def test_whose_turn_comes_too_late_is_refused_and_the_next_one_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("rpccommon.places.time.monotonic", lambda: now)
    places = Places("calls", 1)
    await places.enter("a", None)
    late = asyncio.create_task(places.enter("a", None))
    await begun(late)
    now += PATIENCE_SECONDS + 0.1
    soon = asyncio.create_task(places.enter("b", None))
    await begun(soon)
    places.leave("a", 0.01)
    assert await begun(soon)
    assert isinstance(late.exception(), Overloaded)


async def test_no_more_than_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpccommon.places.FIRST_GUESS_SECONDS", 0.0)
    places = Places("calls", 1)
    await places.enter("a", None)
    waiting = [asyncio.create_task(places.enter(str(n), None)) for n in range(WAITING_MAX)]
    await begun(waiting[0])
    with pytest.raises(Overloaded):
        await places.enter("b", None)
    for task in waiting:
        task.cancel()


async def test_who_is_cancelled_while_waiting_takes_no_place() -> None:
    places = Places("calls", 1)
    await places.enter("a", None)
    gone, stays = (asyncio.create_task(places.enter("a", None)) for _ in range(2))
    await begun(gone)
    gone.cancel()
    await asyncio.wait({gone})
    places.leave("a", 0.01)
    assert await begun(stays)
    given = asyncio.create_task(places.enter("a", None))
    await begun(given)
    places.leave("a", 0.01)  # it is given the place, and cancelled in the same moment
    given.cancel()
    await asyncio.wait({given})
    await asyncio.wait_for(places.enter("b", None), 1)


@pytest.fixture
def slow(bookings: Bookings) -> Bookings:
    bookings.seconds = 30
    return bookings


async def test_reads_do_not_wait_for_writes(on: Stage, slow: Bookings) -> None:
    request = bookings_pb2.CancelBookingRequest()
    request.CopyFrom(CANCEL)
    request.cancelled_by = bookings_pb2.CANCELLED_BY_CUSTOMER
    writes = [asyncio.ensure_future(on.bookings.CancelBooking(request, metadata=AGENT, timeout=5)) for _ in range(3)]
    async with asyncio.timeout(5):
        while not slow.calls:
            await asyncio.sleep(0.01)
    slow.seconds = 0
    await on.bookings.GetBooking(GET, metadata=VIEWER, timeout=5)
    for call in writes:
        call.cancel()


async def test_more_open_streams_of_a_caller_than_it_may_have_are_refused_by_name(on: Stage, bookings: Bookings) -> None:
    bookings.after_page = asyncio.Event().wait
    held = [on.bookings.ListBookings(LIST, metadata=VIEWER) for _ in range(2)]
    for call in held:
        await anext(aiter(call))
    error = await failure(on.bookings.ListBookings(LIST, metadata=VIEWER))
    info, _, retry = details(error)
    assert (error.code(), info.reason, info.metadata["limit"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", "2")
    assert retry > 0
    held[0].cancel()
    bookings.after_page = None
    async with asyncio.timeout(5):
        while True:  # its place is free once the RPC is over
            try:
                assert [page async for page in on.bookings.ListBookings(LIST, metadata=VIEWER)]
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.01)
            else:
                break
    held[1].cancel()


async def test_the_callers_of_one_station_leave_streams_to_those_of_others(bookings: Bookings) -> None:
    bookings.after_page = asyncio.Event().wait
    one, two, three = (bearer(replace(user(station=1, other=1), subject=str(uuid4()))) for _ in range(3))
    elsewhere = bookings_pb2.ListBookingsRequest(station_id=str(OTHER_STATION))
    async with stage(bookings, limits=Limits(streams_of_caller=1, streams_of_tenant=2)) as on:
        held = [on.bookings.ListBookings(LIST, metadata=caller) for caller in (one, two)]
        for call in held:
            await anext(aiter(call))
        error = await failure(on.bookings.ListBookings(LIST, metadata=three))
        assert (details(error)[0].reason, details(error)[0].metadata["limit"]) == ("OVERLOADED", "2")
        assert "a station may have" in str(error.details())
        other = on.bookings.ListBookings(elsewhere, metadata=three)
        await anext(aiter(other))
        for call in (*held, other):
            call.cancel()


async def test_a_streams_place_is_free_only_when_its_reader_has_taken_it_or_left(bookings: Bookings) -> None:
    """A handler that has returned may have left pages behind that nobody takes."""
    bookings.pages, bookings.page = 1, bookings_pb2.ListBookingsResponse(next_page_token="x" * 1_000_000)
    window = [("grpc.http2.lookahead_bytes", 16_384), ("grpc.http2.bdp_probe", 0)]
    limits = Limits(streams_of_caller=1)
    async with (
        stage(bookings, limits=limits, patience=0.1) as on,
        grpc.aio.insecure_channel(f"127.0.0.1:{on.port}", options=window) as channel,
    ):
        stalled = bookings_pb2_grpc.BookingsServiceStub(channel).ListBookings(LIST, metadata=VIEWER)
        async with asyncio.timeout(5):
            await bookings.ended.wait()
        error = await failure(on.bookings.ListBookings(LIST, metadata=VIEWER))
        assert details(error)[0].reason == "OVERLOADED"
        stalled.cancel()
        async with asyncio.timeout(5):
            while True:
                try:
                    await anext(aiter(on.bookings.ListBookings(LIST, metadata=VIEWER)))
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.01)
                else:
                    break


async def test_more_calls_than_a_connection_carries_at_once_wait_at_their_client(bookings: Bookings) -> None:
    """Else some of them would be refused by gRPC with RST_STREAM, which looks like a failure, and has no reason."""
    async with stage(bookings) as on:
        calls = (on.bookings.GetBooking(GET, metadata=VIEWER) for _ in range(3 * CALLS_OF_CONNECTION_MAX))
        assert len(await asyncio.gather(*calls)) == 3 * CALLS_OF_CONNECTION_MAX
