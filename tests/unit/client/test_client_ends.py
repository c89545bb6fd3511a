"""Calls that their caller ends, end; and a server that comes back is found again."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from typing import Any

import pytest
from grpc import StatusCode
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.bookings.v1 import bookings_pb2_grpc
from teppan.client import aio, channel

from tests.unit.client.drivers import counted, failure
from tests.unit.client.fakes import Break, Fake, fail, hold

GET, LIST = pb.GetBookingRequest(booking_id="b1"), pb.ListBookingsRequest()
OUTAGE_SECONDS = 1.0
SYNC_SCRIPT = """
import sys
from teppan.bookings.v1 import bookings_pb2 as pb, bookings_pb2_grpc
from teppan.client import channel
with channel(sys.argv[1]) as made:
    for _ in range(2):
        call = bookings_pb2_grpc.BookingsServiceStub(made).GetBooking
        print(call(pb.GetBookingRequest(booking_id="b1"), timeout=5).booking.booking_id, flush=True)
        sys.stdin.readline()
"""
AIO_SCRIPT = """
import asyncio, sys
from teppan.bookings.v1 import bookings_pb2 as pb, bookings_pb2_grpc
from teppan.client.aio import channel
async def main():
    async with channel(sys.argv[1]) as made:
        for _ in range(2):
            call = bookings_pb2_grpc.BookingsServiceStub(made).GetBooking
            print((await call(pb.GetBookingRequest(booking_id="b1"), timeout=5)).booking.booking_id, flush=True)
            sys.stdin.readline()
asyncio.run(main())
"""


def bookings(made: Any) -> Any:
    return bookings_pb2_grpc.BookingsServiceStub(made)


@pytest.mark.parametrize("by_call", [False, True])
async def test_a_cancelled_call_ends_and_nothing_follows(fake: Fake, *, by_call: bool) -> None:
    fake.plan("GetBooking", hold)
    async with aio.channel(fake.address) as made:
        call = bookings(made).GetBooking(GET)

        async def wait() -> None:
            await call

        task = asyncio.create_task(wait())
        await counted(fake.entered)
        (call if by_call else task).cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await counted(fake.ended)
        await bookings(made).GetBooking(GET)
    assert len(fake.seen) == 2


@pytest.mark.parametrize("after", [0, 1])
async def test_a_cancelled_reader_of_a_stream_ends_it_and_nothing_follows(fake: Fake, after: int) -> None:
    fake.plan("ListBookings", Break(after, hold))
    async with aio.channel(fake.address) as made:
        read: list[Any] = []

        async def reading() -> None:
            async for message in bookings(made).ListBookings(LIST):
                read.append(message)  # noqa: PERF401  # one by one, while it is looked at

        task = asyncio.create_task(reading())
        await counted(fake.entered)
        while len(read) < after:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await counted(fake.ended)
        await bookings(made).GetBooking(GET)
    assert len(fake.seen) == 2


async def test_a_stream_that_is_cancelled_by_its_call_ends_too(fake: Fake) -> None:
    fake.plan("ListBookings", Break(1, hold))
    async with aio.channel(fake.address) as made:
        call = bookings(made).ListBookings(LIST)
        assert await call.read()
        call.cancel()
        await counted(fake.ended)
        assert await call.code() is StatusCode.CANCELLED
    assert len(fake.seen) == 1


@pytest.mark.parametrize("after", [0, 1])
async def test_a_stream_that_another_thread_cancels_ends(fake: Fake, after: int) -> None:
    fake.plan("ListBookings", Break(after, hold))
    with channel(fake.address) as made:
        stream = bookings(made).ListBookings(LIST)
        reading = asyncio.create_task(asyncio.to_thread(list, stream))
        await counted(fake.entered)
        stream.cancel()
        error = await failure(reading)
        await counted(fake.ended)
    assert error.code() is StatusCode.CANCELLED
    assert stream.code() is StatusCode.CANCELLED
    assert len(fake.seen) == 1


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_closed_channel_ends_its_calls(fake: Fake, *, streaming: bool) -> None:
    fake.plan("GetBooking", hold)
    fake.plan("ListBookings", Break(0, hold))
    made = channel(fake.address)
    stub = bookings(made)
    waiting = asyncio.create_task(asyncio.to_thread(lambda: list(stub.ListBookings(LIST)) if streaming else stub.GetBooking(GET)))
    await counted(fake.entered)
    made.close()
    assert (await failure(waiting)).code() is StatusCode.CANCELLED
    assert len(fake.seen) == 1


async def test_a_call_that_waits_is_made_in_the_background_too(fake: Fake) -> None:
    fake.plan("GetBooking", fail(StatusCode.CANCELLED))
    with channel(fake.address) as made:
        future = bookings(made).GetBooking.future(GET)
        assert (await asyncio.to_thread(future.result)).booking.booking_id == "b1"
        answer, call = bookings(made).GetBooking.with_call(GET)
        assert (answer.booking.booking_id, call.code()) == ("b1", StatusCode.OK)


@pytest.mark.parametrize("script", [SYNC_SCRIPT, AIO_SCRIPT])
async def test_a_server_that_comes_back_is_found_soon(fake: Fake, script: str) -> None:
    """In a process of its own: in this one, the server's threads would work on the client's connections too."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, fake.address, stdin=PIPE, stdout=PIPE, env={**os.environ, "PYTHONPATH": ":".join(sys.path)}
    )
    assert process.stdin
    assert process.stdout
    assert await process.stdout.readline() == b"b1\n"
    fake.stop()
    process.stdin.write(b"\n")
    await asyncio.sleep(OUTAGE_SECONDS)
    with Fake(port=fake.port):
        assert await process.stdout.readline() == b"b1\n"
        process.stdin.close()
        assert await process.wait() == 0
