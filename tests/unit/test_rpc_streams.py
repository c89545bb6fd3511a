"""What stands around every stream: no connection held, no reader waited for for ever, no end that looks complete."""

import asyncio
import io
from collections.abc import AsyncGenerator
from typing import Any, cast
from unittest.mock import Mock

import grpc
import pytest
from teppan.bookings.v1 import bookings_pb2, bookings_pb2_grpc

from pages import Page
from rpccommon.paging import limited
from tests.unit.rpc_bookings import (
    GET,
    LIST,
    VIEWER,
    Bookings,
    failure,
    lines,
)
from tests.unit.rpc_stage import Stage, details, stage

READERS = 20


async def test_a_stream_sends_every_page(on: Stage, bookings: Bookings, log: io.StringIO) -> None:
    assert len([page async for page in on.bookings.ListBookings(LIST, metadata=VIEWER)]) == 3
    assert [(line["code"], line["messages"]) for line in lines(log)] == [("OK", 3)]


async def test_no_page_is_sent_while_a_connection_is_held(on: Stage, bookings: Bookings) -> None:
    async def hold() -> None:
        on.held.append("a connection")

    bookings.after_page = hold
    got = []
    with pytest.raises(grpc.aio.AioRpcError) as failed:  # noqa: PT012  # what came before the failure counts
        async for page in on.bookings.ListBookings(LIST, metadata=VIEWER):
            got.append(page)  # noqa: PERF401  # a comprehension would lose it
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert len(got) == 1


async def test_a_stream_that_has_nothing_to_send_for_too_long_ends_and_can_be_resumed(bookings: Bookings) -> None:
    bookings.after_page = asyncio.Event().wait
    async with stage(bookings, message_seconds=0.2) as on:
        error = await failure(on.bookings.ListBookings(LIST, metadata=VIEWER))
        assert details(error)[0].reason == "DEADLINE_EXCEEDED"
        assert bookings.ended.is_set()

        async def freeze() -> None:
            on.calls.unready = "the database does not answer"
            await asyncio.Event().wait()

        bookings.after_page = freeze
        error = await failure(on.bookings.ListBookings(LIST, metadata=VIEWER))
        assert (error.code(), details(error)[0].reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")


@pytest.mark.parametrize("taken", [0, 1])
async def test_a_reader_that_takes_nothing_is_let_go(bookings: Bookings, log: io.StringIO, taken: int) -> None:
    """Whether it took a first message or not: then, too, it is told why."""
    bookings.pages, bookings.page = 100, bookings_pb2.ListBookingsResponse(next_page_token="x" * 1_000_000)
    window = [("grpc.http2.lookahead_bytes", 16_384), ("grpc.http2.bdp_probe", 0)]
    async with stage(bookings, patience=0.2) as on, grpc.aio.insecure_channel(f"127.0.0.1:{on.port}", options=window) as channel:
        call: Any = bookings_pb2_grpc.BookingsServiceStub(channel).ListBookings(LIST, metadata=VIEWER)
        for _ in range(taken):
            await anext(aiter(call))
        async with asyncio.timeout(5):
            await bookings.ended.wait()  # what the handler held is free, however long the reader sleeps
            while not lines(log):
                await asyncio.sleep(0.01)
        assert lines(log)[0]["reason"] == "READER_TOO_SLOW"
        async with asyncio.timeout(5):
            error = await failure(call)
        assert (error.code(), details(error)[0].reason) == (grpc.StatusCode.UNAVAILABLE, "READER_TOO_SLOW")


async def test_a_reader_that_leaves_ends_the_handler(on: Stage, bookings: Bookings, log: io.StringIO) -> None:
    bookings.after_page = asyncio.Event().wait
    call = on.bookings.ListBookings(LIST, metadata=VIEWER)
    await anext(aiter(call))
    call.cancel()
    async with asyncio.timeout(5):
        await bookings.ended.wait()
        while not lines(log):
            await asyncio.sleep(0.01)
    assert lines(log)[0]["code"] == "CANCELLED"


async def test_a_reader_that_leaves_while_a_page_is_being_sent_is_no_bug(bookings: Bookings, log: io.StringIO) -> None:
    """grpc.aio cancels the handler, or says that the batch failed, as chance has it."""
    bookings.pages, bookings.page = 100, bookings_pb2.ListBookingsResponse(next_page_token="x" * 1_000_000)
    window = [("grpc.http2.lookahead_bytes", 16_384), ("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with stage(bookings) as on:
        for _ in range(READERS):
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{on.port}", options=window)
            call: Any = bookings_pb2_grpc.BookingsServiceStub(channel).ListBookings(LIST, metadata=VIEWER)
            await anext(aiter(call))
            call.cancel()
            await channel.close()
        async with asyncio.timeout(10):
            while len(lines(log)) < READERS:
                await asyncio.sleep(0.01)
    assert {line["code"] for line in lines(log)} == {"CANCELLED"}
    assert not lines(log, "a call failed")


async def test_a_stream_that_ends_has_closed_all_that_it_read_from() -> None:
    """Not some time later, by whoever collects garbage: a batch that is being read has a connection."""
    closed: list[str] = []

    async def pages() -> AsyncGenerator[Page[int], None]:
        try:
            while True:
                yield Page(rows=[1], next=None)
        finally:
            await asyncio.sleep(0)
            closed.append("pages")

    async def messages(page: Page[int]) -> AsyncGenerator[int, None]:
        try:
            while True:
                yield page.rows[0]
        finally:
            await asyncio.sleep(0)
            closed.append("messages")

    stream = limited(pages(), messages, 0)
    assert await anext(stream) == 1
    await stream.aclose()
    assert closed == ["messages", "pages"]


async def test_a_bug_in_a_call_that_is_late_is_told_as_late_and_logged(on: Stage, bookings: Bookings, log: io.StringIO) -> None:
    bookings.seconds, bookings.ended = 60, cast("asyncio.Event", Mock(set=Mock(side_effect=ZeroDivisionError)))
    error = await failure(on.bookings.GetBooking(GET, metadata=VIEWER, timeout=1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    [line] = lines(log, "a call failed")
    assert "ZeroDivisionError" in str(line)


async def test_a_stream_that_a_stopping_server_ends_does_not_look_complete(on: Stage, bookings: Bookings) -> None:
    go_on = asyncio.Event()
    bookings.after_page = go_on.wait
    call = on.bookings.ListBookings(LIST, metadata=VIEWER)
    await anext(aiter(call))
    stopping = asyncio.create_task(on.server.stop())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while not on.calls.draining:
            await asyncio.sleep(0.01)
        go_on.set()
        error = await failure(call)
        await stopping
    assert (error.code(), details(error)[0].reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING")
    assert details(error)[2] > 0


async def test_a_call_under_way_outlives_the_drain(on: Stage, bookings: Bookings) -> None:
    bookings.seconds = 0.5
    call = asyncio.ensure_future(on.bookings.GetBooking(GET, metadata=VIEWER))
    while not bookings.calls:
        await asyncio.sleep(0.01)
    await on.server.stop()
    assert await call == bookings_pb2.GetBookingResponse()
