"""The owner's side: batches, heartbeats, and how far they are complete."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from google.protobuf import any_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from teppan.common.v1 import events_pb2, events_pb2_grpc

from faults import CursorExpired, CursorInvalid
from pages import TokenRefused, Tokens
from rpccommon.feed.source import EventSource, Head, Place, StoredEvent
from rpccommon.values import bound_from_pb

BATCH_MAX = 500
BATCH_BYTES_MAX = 1024 * 1024
HEARTBEAT_SECONDS = 2.0
CURSOR = "cursor"


class EventsServicer(events_pb2_grpc.EventsServiceServicer):
    """Streams a feed: many short reads, none of them open while a reader takes its time."""

    def __init__(self, source: EventSource, tokens: Tokens) -> None:
        """`tokens` sign the cursors."""
        self._source = source
        self._tokens = tokens

    async def StreamEvents(
        self, request: events_pb2.StreamEventsRequest, context: Any
    ) -> AsyncGenerator[events_pb2.StreamEventsResponse, None]:
        """Streams batches and heartbeats, endlessly."""
        checked = (await self._source.head()).epoch  # read first: an epoch that begins meanwhile is another one below
        place = await self._start(request)
        types, tenants = list(request.types), [UUID(text) for text in request.station_ids]
        loop = asyncio.get_running_loop()
        complete_until, due = datetime.fromtimestamp(0, UTC), loop.time()
        while True:
            head = await self._source.head()  # read first: what is sent until then is complete up to it
            if head.epoch != checked:  # the database was restored, perhaps: is the place still one of this feed?
                checked, place = head.epoch, await self._source.start(after=place, after_time=None, latest=False)
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
                if last or loop.time() >= due:  # heartbeats also while all that is passed over is not wanted
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
        time = bound_from_pb(request.after_time, "after_time") if start == "after_time" else None
        return await self._source.start(after=after, after_time=time, latest=start == "latest")

    def _batch(
        self, events: Sequence[StoredEvent], place: Place, head: Head, complete_until: datetime
    ) -> events_pb2.StreamEventsResponse:
        if place[1] == head.position:  # the end of one epoch is where the next begins
            place = (head.epoch, place[1])
        return events_pb2.StreamEventsResponse(
            events=[stored_to_pb(event) for event in events],
            cursor=self._tokens.sign(CURSOR, {"epoch": str(place[0]), "position": place[1]}, None),
            complete_until_time=_timestamp(complete_until),
            head=events_pb2.Position(epoch=str(head.epoch), position=head.position),
            position=events_pb2.Position(epoch=str(place[0]), position=place[1]),
        )


def _parts(events: Sequence[StoredEvent]) -> list[Sequence[StoredEvent]]:
    """Cuts events so that each part but the last has about a MiB; one part, empty, where there are none."""
    parts, first, size = [], 0, 0
    for index, event in enumerate(events):
        size += len(event.payload)
        if size > BATCH_BYTES_MAX and index > first:
            parts.append(events[first:index])
            first, size = index, len(event.payload)
    return [*parts, events[first:]]


def stored_to_pb(event: StoredEvent) -> events_pb2.Event:
    """An event as it is sent."""
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


def _timestamp(instant: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(instant)
    return made
