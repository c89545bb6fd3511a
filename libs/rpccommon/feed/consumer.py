"""The other side: who follows a feed, from where it was applied."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import structlog
from teppan.common.v1 import events_pb2, events_pb2_grpc

from faults import NOT_FROM_HERE, EpochLeft, PeerUnavailable, Remembered
from rpccommon.client import Peer, prompt
from rpccommon.feed.metrics import FeedMetrics
from rpccommon.feed.source import Place
from rpccommon.resync import Page, referents

SILENCE_SECONDS = 10.0
PAUSE_SECONDS_MIN = 0.1
PAUSE_SECONDS_MAX = 2.0
REGISTER_AGAIN_SECONDS = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What came at once; a heartbeat has no events."""

    events: Sequence[events_pb2.Event]
    cursor: str
    complete_until: datetime
    head: Place
    position: Place
    registered: Sequence[str]
    """The columns by which this service was registered with the peer before the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What a service has registered with an owner."""

    columns: Sequence[str]
    """("bookings.station_id")"""
    complete: bool = True
    """Whether that are all; others have to wait for a purge that did not ask about them."""


class Inbox(Protocol):
    """Where a feed is applied."""

    async def cursor(self) -> str | None:
        """Where the last batch ended; None at the very beginning."""

    async def begin(self) -> None:
        """Called at the start of each stream, before the call goes out."""

    async def apply(self, batch: Batch) -> None:
        """Applies a batch and moves the cursor, or raises."""

    async def resynchronise(self, pages: AsyncIterator[Page]) -> Mapping[str, int]:
        """Replaces what is known by all there is; gives by type how many known things were not among it."""


def events_of(peer: Peer) -> Callable[[events_pb2.StreamEventsRequest], AsyncGenerator[events_pb2.StreamEventsResponse, None]]:
    """The feed of a peer, from where a request says. It raises PeerUnavailable where it falls silent."""
    stub = events_pb2_grpc.EventsServiceStub(peer.channel)
    return lambda request: prompt(peer.stream(stub.StreamEvents, request), peer.name, SILENCE_SECONDS)


async def nothing_to_register() -> Registered:
    """Who follows a feed, and refers to nothing of its owner."""
    return Registered(columns=())


class Consumer:
    """Follows the feed of a peer into an inbox."""

    def __init__(
        self, peer: Peer, types: Sequence[str], inbox: Inbox, metrics: FeedMetrics, *,
        register: Callable[[], Awaitable[Registered]] = nothing_to_register,
    ) -> None:  # fmt: skip
        """Asks nothing yet; `types` are the event types that are wanted. `register` is called before each stream: see `registration`."""
        self._metrics = metrics
        self._peer = peer
        self._register = register
        self._types = types
        self._inbox = inbox
        self._stream_events = events_of(peer)
        self._pause = PAUSE_SECONDS_MIN

    async def run(self) -> None:
        """Endless: whatever fails is tried again from the cursor."""
        while True:
            try:
                await self._follow()
            except EpochLeft as left:
                self._metrics.left_epochs.labels(self._peer.name).inc()
                log.error("a feed is refused: is a deposed primary still running?", peer=self._peer.name, why=left.message)
            except Exception as error:  # noqa: BLE001  # whatever it is: the cursor has not moved, and it may be mended by then
                log.warning("a feed broke off", peer=self._peer.name, why=repr(error))
            await asyncio.sleep(random.uniform(0, self._pause))  # noqa: S311  # spreads reconnections, guards nothing
            self._pause = min(self._pause * 2, PAUSE_SECONDS_MAX)

    async def _follow(self) -> None:
        """Follows from the cursor; where there is none, or the peer's feed goes on from it no more, takes over all there is."""
        cursor = await self._inbox.cursor()
        await self._inbox.begin()
        registered = await self._register()
        if cursor is None:
            await self._resynchronise()
            return
        try:
            await self._stream(cursor, registered)
        except Remembered as refusal:
            if refusal.reason not in NOT_FROM_HERE:
                raise
            log.warning("a feed does not go on from here", peer=self._peer.name, why=refusal.message)
            await self._resynchronise()

    async def _stream(self, cursor: str, registered: Registered) -> None:
        request = events_pb2.StreamEventsRequest(types=self._types, after_cursor=cursor)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with aclosing(self._stream_events(request)) as messages:
            async for message in messages:
                await self._inbox.apply(_batch_from_pb(message, registered.columns))
                self._pause = PAUSE_SECONDS_MIN
                if not registered.complete and loop.time() - begun > REGISTER_AGAIN_SECONDS:
                    return
        raise PeerUnavailable(f"the feed of {self._peer.name} ended", peer=self._peer.name)

    async def _resynchronise(self) -> None:
        async with aclosing(referents(self._peer, self._types)) as pages:
            unknown = await self._inbox.resynchronise(pages)
        self._metrics.resynchronised(self._peer.name, unknown)


def _batch_from_pb(message: events_pb2.StreamEventsResponse, registered: Sequence[str]) -> Batch:
    return Batch(
        events=message.events,
        cursor=message.cursor,
        complete_until=message.complete_until_time.ToDatetime(UTC),
        head=(UUID(message.head.epoch), message.head.position),
        position=(UUID(message.position.epoch), message.position.position),
        registered=registered,
    )
