"""The memory of a server, and readers of lists that take their time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc
import psutil

from tests.bench.peers.raw import CALL_SECONDS, UNLIMITED, Call

SAMPLE_SECONDS = 0.02
FIXED_WINDOW = ("grpc.http2.bdp_probe", 0)
"""Else a client that waits would ask for ever more to come."""
MIB = 2**20


@dataclass
class Watched:
    """The resident memory of a process in MiB: before, at its highest, and after."""

    before: float
    highest: float
    after: float = 0.0


def resident(pid: int) -> float:
    """Returns what a process has in memory, in MiB."""
    return float(psutil.Process(pid).memory_info().rss) / MIB


@asynccontextmanager
async def watched(pid: int) -> AsyncIterator[Watched]:
    """Watches a process meanwhile; `after` is set at the end."""
    begun = resident(pid)
    found = Watched(before=begun, highest=begun)

    async def sample() -> None:
        while True:
            found.highest = max(found.highest, resident(pid))
            await asyncio.sleep(SAMPLE_SECONDS)

    task = asyncio.create_task(sample())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.wait([task])
    found.after = resident(pid)
    found.highest = max(found.highest, found.after)


@asynccontextmanager
async def reading(calls: Sequence[Call], *, every: float | None) -> AsyncIterator[None]:
    """Opens a stream for each call, on a connection of its own, and reads a page of each; then one `every` so many seconds, or none."""
    async with AsyncExitStack() as stack:
        streams = [await _opened(call, stack) for call in calls]
        async with asyncio.timeout(CALL_SECONDS):
            await asyncio.gather(*(stream.read() for stream in streams))
        tasks = [] if every is None else [asyncio.create_task(_slowly(stream, every)) for stream in streams]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for stream in streams:
                stream.cancel()
            if tasks:
                await asyncio.wait(tasks)


async def _opened(call: Call, stack: AsyncExitStack) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(call.address, options=(*UNLIMITED, FIXED_WINDOW)))
    method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(call.path)
    return method(call.body, metadata=[("authorization", call.authorization)] if call.authorization else [])


async def _slowly(stream: grpc.aio.UnaryStreamCall[bytes, bytes], every: float) -> None:
    while await stream.read() is not grpc.aio.EOF:
        await asyncio.sleep(every)
