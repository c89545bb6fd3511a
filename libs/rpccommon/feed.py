"""The feed over gRPC: a service streams what changed in it, others follow. The SQL of both sides is in dbcommon."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import structlog
from google.protobuf import any_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from teppan.common.v1 import events_pb2, events_pb2_grpc

from faults import CursorExpired, CursorInvalid, PeerUnavailable
from pages import TokenRefused, Tokens
from rpccommon.client import Peer

BATCH_MAX = 500
BATCH_BYTES_MAX = 1024 * 1024
HEARTBEAT_SECONDS = 2.0
SILENCE_SECONDS = 10.0
PAUSE_SECONDS_MIN = 0.1
PAUSE_SECONDS_MAX = 2.0
CURSOR = "cursor"

Place = tuple[UUID, int]
"""An epoch, and a position: dense over the whole feed, compared within an epoch only."""

log = structlog.get_logger()


class StoredEvent(Protocol):
    """An event as the source has it."""

    @property
    def event_id(self) -> UUID:
        """Its own ID."""

    @property
    def type(self) -> str:
        """What changed: "identity.Station"."""

    @property
    def entity_id(self) -> UUID:
        """Which of them."""

    @property
    def station_id(self) -> UUID | None:
        """Whose it is; None for what belongs to no tenant."""

    @property
    def epoch(self) -> UUID:
        """The epoch in which it was published."""

    @property
    def position(self) -> int:
        """Its place in the feed."""

    @property
    def version(self) -> int:
        """Of the entity, after the change."""

    @property
    def referent_state(self) -> int:
        """A value of `teppan.common.v1.ReferentState`."""

    @property
    def publish_time(self) -> datetime:
        """By the relay's clock."""

    @property
    def payload(self) -> bytes:
        """A serialised `google.protobuf.Any`."""


class Head(Protocol):
    """The end of a feed."""

    @property
    def epoch(self) -> UUID:
        """The present epoch."""

    @property
    def position(self) -> int:
        """Of the last event."""

    @property
    def complete_until(self) -> datetime:
        """Everything committed before it stands at or before `position`."""


class EventSource(Protocol):
    """A feed that can be read."""

    async def head(self) -> Head:
        """Its end, now."""

    async def start(self, *, after: Place | None, after_time: datetime | None, latest: bool) -> Place:
        """Where a stream begins. Raises CursorDiverged, CursorExpired."""

    async def after(
        self, place: Place, *, types: Sequence[str], tenants: Sequence[UUID], limit: int
    ) -> tuple[Sequence[StoredEvent], Place]:
        """The wanted ones among the next `limit` events, and the place after the last one looked at."""

    async def changed(self, position: int, timeout: float) -> None:
        """Returns when the head has passed `position`, or after `timeout` seconds."""


class EventsServicer(events_pb2_grpc.EventsServiceServicer):
    """Streams a feed: many short reads, none of them open while a reader takes its time."""

    def __init__(self, source: EventSource, tokens: Tokens) -> None:
        """`tokens` sign the cursors."""
        self._source = source
        self._tokens = tokens

    async def StreamEvents(
        self, request: events_pb2.StreamEventsRequest, context: Any
    ) -> AsyncIterator[events_pb2.StreamEventsResponse]:
        """Streams batches and heartbeats, endlessly."""
        place = await self._start(request)
        types, tenants = list(request.types), [UUID(text) for text in request.station_ids]
        loop = asyncio.get_running_loop()
        complete_until, due = datetime.fromtimestamp(0, UTC), loop.time()
        while True:
            head = await self._source.head()  # read first: what is sent until then is complete up to it
            while place[1] < head.position:
                events, reached = await self._source.after(place, types=types, tenants=tenants, limit=BATCH_MAX)
                if reached == place:
                    raise CursorExpired("what follows is no longer kept; resynchronise")
                *parts, last = _parts(events)
                for part in parts:
                    yield self._batch(part, (part[-1].epoch, part[-1].position), head, complete_until)
                place = reached
                if place[1] >= head.position:
                    complete_until = head.complete_until
                if last:
                    yield self._batch(last, place, head, complete_until)
                    due = loop.time() + HEARTBEAT_SECONDS
            complete_until = head.complete_until
            if loop.time() >= due:
                yield self._batch((), place, head, complete_until)
                due = loop.time() + HEARTBEAT_SECONDS
            await self._source.changed(place[1], max(0.0, due - loop.time()))

    async def _start(self, request: events_pb2.StreamEventsRequest) -> Place:
        after, start = None, request.WhichOneof("start")
        if start == "after_cursor":
            try:
                cursor = self._tokens.open(CURSOR, request.after_cursor)
            except TokenRefused as refusal:
                raise CursorInvalid({"after_cursor": str(refusal)}) from refusal
            after = (UUID(cursor["epoch"]), int(cursor["position"]))
        time = request.after_time.ToDatetime(UTC) if start == "after_time" else None
        return await self._source.start(after=after, after_time=time, latest=start == "latest")

    def _batch(
        self, events: Sequence[StoredEvent], place: Place, head: Head, complete_until: datetime
    ) -> events_pb2.StreamEventsResponse:
        if place[1] == head.position:  # the end of one epoch is where the next begins
            place = (head.epoch, place[1])
        return events_pb2.StreamEventsResponse(
            events=[_event_to_pb(event) for event in events],
            cursor=self._tokens.sign(CURSOR, {"epoch": str(place[0]), "position": place[1]}, None),
            complete_until_time=_timestamp(complete_until),
            head=events_pb2.Position(epoch=str(head.epoch), position=head.position),
            position=events_pb2.Position(epoch=str(place[0]), position=place[1]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What came at once; a heartbeat has no events."""

    events: Sequence[events_pb2.Event]
    cursor: str
    complete_until: datetime
    head: Place
    position: Place


class Inbox(Protocol):
    """Where a feed is applied."""

    async def cursor(self) -> str | None:
        """Where the last batch ended; None at the very beginning."""

    async def begin(self) -> None:
        """Called at the start of each stream, before the call goes out."""

    async def apply(self, batch: Batch) -> None:
        """Applies a batch and moves the cursor, or raises."""


class Consumer:
    """Follows the feed of a peer into an inbox."""

    def __init__(self, peer: Peer, types: Sequence[str], inbox: Inbox) -> None:
        """Asks nothing yet; `types` are the event types that are wanted."""
        self._peer = peer
        self._types = types
        self._inbox = inbox
        self._stub = events_pb2_grpc.EventsServiceStub(peer.channel)
        self._pause = PAUSE_SECONDS_MIN

    async def run(self) -> None:
        """Endless: whatever fails is tried again from the cursor."""
        while True:
            try:
                await self._follow()
            except Exception as error:  # noqa: BLE001  # whatever it is: the cursor has not moved, and it may be mended by then
                log.warning("a feed broke off", peer=self._peer.name, why=repr(error))
            await asyncio.sleep(random.uniform(0, self._pause))  # noqa: S311  # spreads reconnections, guards nothing
            self._pause = min(self._pause * 2, PAUSE_SECONDS_MAX)

    async def _follow(self) -> None:
        cursor = await self._inbox.cursor()
        await self._inbox.begin()
        request = events_pb2.StreamEventsRequest(types=self._types)
        if cursor is not None:
            request.after_cursor = cursor
        messages = self._peer.stream(self._stub.StreamEvents, request)
        try:
            while True:
                try:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        message = await anext(messages)
                except (TimeoutError, StopAsyncIteration) as silence:
                    raise PeerUnavailable(f"the feed of {self._peer.name} fell silent", peer=self._peer.name) from silence
                await self._inbox.apply(_batch_from_pb(message))
                self._pause = PAUSE_SECONDS_MIN
        finally:
            await messages.aclose()


def _parts(events: Sequence[StoredEvent]) -> list[Sequence[StoredEvent]]:
    """Cuts events so that each part but the last has about a MiB; one part, empty, where there are none."""
    parts, first, size = [], 0, 0
    for index, event in enumerate(events):
        size += len(event.payload)
        if size > BATCH_BYTES_MAX and index > first:
            parts.append(events[first:index])
            first, size = index, len(event.payload)
    return [*parts, events[first:]]


def _event_to_pb(event: StoredEvent) -> events_pb2.Event:
    return events_pb2.Event(
        event_id=str(event.event_id),
        type=event.type,
        entity_id=str(event.entity_id),
        station_id="" if event.station_id is None else str(event.station_id),
        epoch=str(event.epoch),
        position=event.position,
        version=event.version,
        referent_state=event.referent_state,  # type: ignore[arg-type]  # a number of that enum
        publish_time=_timestamp(event.publish_time),
        payload=any_pb2.Any.FromString(event.payload),
    )


def _batch_from_pb(message: events_pb2.StreamEventsResponse) -> Batch:
    return Batch(
        events=message.events,
        cursor=message.cursor,
        complete_until=message.complete_until_time.ToDatetime(UTC),
        head=(UUID(message.head.epoch), message.head.position),
        position=(UUID(message.position.epoch), message.position.position),
    )


def _timestamp(instant: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(instant)
    return made
