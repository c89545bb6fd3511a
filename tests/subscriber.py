"""Somebody who follows a feed through `teppan.client` while services come and go: every event once, in its place."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

import grpc
from teppan.client import aio
from teppan.common.v1 import events_pb2, events_pb2_grpc

from tests.traffic import Way


class Subscriber:
    """Follows one feed, from what happens next, until it is left."""

    def __init__(self, way: Way, bearer: Callable[[], str]) -> None:
        """`bearer` gives the `authorization` of a service."""
        self._way = way
        self._bearer = bearer
        self._attached = asyncio.Event()
        self._request = events_pb2.StreamEventsRequest(latest=True)
        self._place = events_pb2.Position()
        self.entities: set[str] = set()
        """Whose events have come."""
        self.breaks = 0
        """How often the stream broke, and went on."""

    async def __aenter__(self) -> Self:
        """Begins; what happens from now on will come."""
        self._following = asyncio.create_task(self._follow())
        attached = asyncio.create_task(self._attached.wait())
        await asyncio.wait({self._following, attached}, return_when=asyncio.FIRST_COMPLETED)
        if not self._attached.is_set():
            await self._following
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends; raises what it failed with."""
        self._following.cancel()
        await asyncio.wait({self._following})
        if not self._following.cancelled():
            await self._following

    async def _follow(self) -> None:
        async with aio.channel(self._way.addresses, tls=self._way.tls) as channel:
            stub = events_pb2_grpc.EventsServiceStub(channel)
            while True:
                asked, call = self._request, stub.StreamEvents(self._request, metadata=(("authorization", self._bearer()),))
                try:
                    async for batch in call:
                        self._take(batch)
                except grpc.RpcError as error:
                    # Only what had begun may break: until its first message the client has patience.
                    if aio.refusal(error).code != "UNAVAILABLE" or asked is self._request:
                        raise
                finally:
                    call.cancel()
                self.breaks += 1

    def _take(self, batch: events_pb2.StreamEventsResponse) -> None:
        if not self._attached.is_set():
            self._place = batch.position
            self._attached.set()
        for event in batch.events:
            assert event.epoch == self._place.epoch, "another epoch, and nothing was restored"
            assert event.position == self._place.position + 1, f"after {self._place.position} came {event.position}"
            self._place.position = event.position
            self.entities.add(event.entity_id)
        self._request = events_pb2.StreamEventsRequest(after_cursor=batch.cursor)
