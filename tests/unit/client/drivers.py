"""The client as a test drives it: the sync one in threads, the one of asyncio in the loop; the same calls for both."""

import asyncio
import threading
from contextlib import aclosing
from typing import Any

import grpc
import pytest
from teppan import client
from teppan.client import aio

from tests.unit.client.fakes import WAIT_SECONDS


class Sync:
    """`teppan.client`."""

    api: Any = client

    def __init__(self) -> None:
        self.channels: list[Any] = []

    def channel(self, *addresses: str, **options: Any) -> Any:
        """A channel that is closed at the end."""
        self.channels.append(client.channel(addresses[0] if len(addresses) == 1 else addresses, **options))
        return self.channels[-1]

    async def close(self) -> None:
        for channel in self.channels:
            channel.close()

    async def call(self, method: Any, request: Any, **options: Any) -> Any:
        """A unary call."""
        return await asyncio.to_thread(method, request, **options)

    async def stream(self, method: Any, request: Any, **options: Any) -> list[Any]:
        """All messages of a stream."""
        return await asyncio.to_thread(lambda: list(method(request, **options)))

    async def pages(self, method: Any, request: Any, into: list[Any] | None = None, **options: Any) -> list[Any]:
        """All pages of a list; those before an error are in `into`."""
        found = [] if into is None else into

        def read() -> None:
            for page in client.pages(method, request, **options):
                found.append(page)

        await asyncio.to_thread(read)
        return found

    async def all(self, reading: Any) -> list[Any]:
        """All that a list has."""
        return await asyncio.to_thread(list, reading)

    async def first_pages(self, method: Any, request: Any, count: int) -> list[Any]:
        """Some pages; then the list is closed."""

        def read() -> list[Any]:
            reading = client.pages(method, request)
            found = [next(reading) for _ in range(count)]
            reading.close()
            return found

        return await asyncio.to_thread(read)

    async def page(self, method: Any, request: Any, **options: Any) -> Any:
        """One page."""
        return await asyncio.to_thread(lambda: client.page(method, request, **options))

    async def get(self, source: Any, timeout: float = 20) -> str:
        """A source's token."""
        return str(await asyncio.to_thread(source.get, timeout))


class Aio:
    """`teppan.client.aio`."""

    api: Any = aio

    def __init__(self) -> None:
        self.channels: list[Any] = []

    def channel(self, *addresses: str, **options: Any) -> Any:
        self.channels.append(aio.channel(addresses[0] if len(addresses) == 1 else addresses, **options))
        return self.channels[-1]

    async def close(self) -> None:
        for channel in self.channels:
            await channel.close()

    async def call(self, method: Any, request: Any, **options: Any) -> Any:
        return await method(request, **options)

    async def stream(self, method: Any, request: Any, **options: Any) -> list[Any]:
        return [message async for message in method(request, **options)]

    async def pages(self, method: Any, request: Any, into: list[Any] | None = None, **options: Any) -> list[Any]:
        found = [] if into is None else into
        async for page in aio.pages(method, request, **options):
            found.append(page)
        return found

    async def all(self, reading: Any) -> list[Any]:
        return [page async for page in reading]

    async def first_pages(self, method: Any, request: Any, count: int) -> list[Any]:
        async with aclosing(aio.pages(method, request)) as reading:
            return [await anext(reading) for _ in range(count)]

    async def page(self, method: Any, request: Any, **options: Any) -> Any:
        return await aio.page(method, request, **options)

    async def get(self, source: Any, timeout: float = 20) -> str:
        return str(await source.get(timeout))


Driver = Sync | Aio


async def failure(call: Any) -> grpc.RpcError:
    """How a call failed; fails where it did not."""
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return caught.value


async def counted(what: threading.Semaphore) -> None:
    """Waits until it has happened once more."""
    assert await asyncio.to_thread(what.acquire, timeout=WAIT_SECONDS)
