"""The feed: complete up to what it says, resumed from where it was applied."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf import any_pb2
from teppan.bookings.v1 import bookings_pb2
from teppan.common.v1 import events_pb2, events_pb2_grpc

from faults import CursorDiverged, Remembered
from pages import Tokens
from rpccommon.feed import Batch, Consumer, EventsServicer
from tests.unit.rpc_stage import OTHER_STATION, STATION, Stage, details, now, stage

EPOCH, NEXT_EPOCH = UUID(int=1), UUID(int=2)
START = datetime(2030, 1, 1, tzinfo=UTC)
TOKENS = Tokens(b"k" * 32, now)
LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass
class Stored:
    """An event."""

    position: int
    epoch: UUID = EPOCH
    type: str = "identity.Station"
    station_id: UUID | None = STATION
    size: int = 10
    version: int = 1
    referent_state: int = 2

    @property
    def event_id(self) -> UUID:
        return UUID(int=1000 + self.position)

    @property
    def entity_id(self) -> UUID:
        return UUID(int=2000 + self.position)

    @property
    def publish_time(self) -> datetime:
        return START + timedelta(seconds=self.position)

    @property
    def payload(self) -> bytes:
        packed = any_pb2.Any()
        packed.Pack(bookings_pb2.GetBookingRequest(station_id="x" * self.size))
        return packed.SerializeToString()


@dataclass
class End:
    """The head."""

    epoch: UUID
    position: int
    complete_until: datetime


class Feed:
    """A feed in memory."""

    def __init__(self) -> None:
        self.events: list[Stored] = []
        self.dropped = 0
        self.epoch = EPOCH
        self.starts: list[tuple[Any, Any, bool]] = []
        self.fault: Exception | None = None
        self.grown = asyncio.Event()
        self.reading: Callable[[], None] = lambda: None

    def put(self, *events: Stored) -> None:
        self.events.extend(events)
        self.grown.set()

    def fill(self, count: int, **more: Any) -> None:
        last = self.events[-1].position if self.events else self.dropped
        self.put(*(Stored(last + n, self.epoch, **more) for n in range(1, count + 1)))

    async def head(self) -> End:
        last = self.events[-1].position if self.events else self.dropped
        return End(self.epoch, last, START + timedelta(seconds=last, milliseconds=500))

    async def start(self, *, after: Any, after_time: datetime | None, latest: bool) -> tuple[UUID, int]:
        self.starts.append((after, after_time, latest))
        if self.fault:
            raise self.fault
        return after or (self.epoch, self.events[-1].position if latest else self.dropped)

    async def after(
        self, place: tuple[UUID, int], *, types: Sequence[str], tenants: Sequence[UUID], limit: int
    ) -> tuple[Sequence[Stored], tuple[UUID, int]]:
        self.reading()
        found = [event for event in self.events if event.position > place[1]][:limit]
        wanted = [event for event in found if (not types or event.type in types) and (not tenants or event.station_id in tenants)]
        return wanted, (found[-1].epoch, found[-1].position) if found else place

    async def changed(self, position: int, timeout: float) -> None:
        self.grown.clear()
        if not self.events or self.events[-1].position <= position:
            try:
                async with asyncio.timeout(timeout):
                    await self.grown.wait()
            except TimeoutError:
                return


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
async def on(feed: Feed) -> AsyncIterator[Stage]:
    async with stage(EventsServicer(feed, TOKENS)) as running:
        yield running


def messages(on: Stage, **request: Any) -> Any:
    """The messages of a stream."""
    return on.peer.stream(
        events_pb2_grpc.EventsServiceStub(on.peer.channel).StreamEvents, events_pb2.StreamEventsRequest(**request)
    )


async def until(
    stream: Any, done: Callable[[list[events_pb2.StreamEventsResponse]], bool]
) -> list[events_pb2.StreamEventsResponse]:
    """Reads until it is enough."""
    got: list[events_pb2.StreamEventsResponse] = []
    async with asyncio.timeout(10):
        async for message in stream:
            got.append(message)
            if done(got):
                break
    await stream.aclose()
    return got


def positions(got: Sequence[events_pb2.StreamEventsResponse]) -> list[int]:
    """Of the events."""
    return [event.position for message in got for event in message.events]


def complete(message: events_pb2.StreamEventsResponse) -> datetime:
    """Up to when it says it is."""
    return message.complete_until_time.ToDatetime(UTC)


async def test_every_event_comes_once_in_order_whole(on: Stage, feed: Feed) -> None:
    feed.fill(1201)
    got = await until(messages(on), lambda got: len(positions(got)) == 1201)
    assert positions(got) == list(range(1, 1202))
    assert [len(message.events) for message in got] == [500, 500, 201]
    event, stored = got[0].events[0], feed.events[0]
    assert (event.event_id, event.type, event.entity_id, event.station_id) == (
        str(stored.event_id), stored.type, str(stored.entity_id), str(STATION),
    )  # fmt: skip
    assert (event.epoch, event.version, event.referent_state, event.publish_time.ToDatetime(UTC)) == (
        str(EPOCH),
        1,
        2,
        stored.publish_time,
    )
    assert event.payload.SerializeToString() == stored.payload


async def test_nothing_is_called_complete_before_all_of_it_was_sent(on: Stage, feed: Feed) -> None:
    feed.fill(1201)
    got = await until(messages(on), lambda got: len(positions(got)) == 1201)
    assert [complete(message) for message in got[:-1]] == [LONG_AGO, LONG_AGO]
    assert complete(got[-1]) == START + timedelta(seconds=1201, milliseconds=500)
    assert [(message.head.position, message.position.position) for message in got] == [(1201, 500), (1201, 1000), (1201, 1201)]


async def test_what_arrives_while_a_batch_is_read_is_not_covered_by_the_head_that_was_read_before(on: Stage, feed: Feed) -> None:
    feed.fill(1)
    feed.reading = lambda: feed.fill(1) if len(feed.events) == 1 else None
    [got] = await until(messages(on), lambda _: True)
    assert positions([got]) == [1, 2]
    assert (got.head.position, complete(got)) == (1, START + timedelta(seconds=1, milliseconds=500))


async def test_an_empty_feed_says_at_once_that_it_is_complete_and_goes_on_saying_so(
    on: Stage, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpccommon.feed.HEARTBEAT_SECONDS", 0.05)
    got = await until(messages(on), lambda got: len(got) == 4)
    assert [(positions([message]), complete(message), message.head.position) for message in got] == [
        ([], START + timedelta(milliseconds=500), 0)
    ] * 4


async def test_heartbeats_move_the_cursor_past_what_was_not_wanted(
    on: Stage, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpccommon.feed.HEARTBEAT_SECONDS", 0.05)
    feed.fill(3, type="identity.User", station_id=None)
    feed.fill(1, station_id=OTHER_STATION)
    feed.fill(2)
    stream = messages(on, types=["identity.Station"], station_ids=[str(STATION)])
    got = await until(stream, lambda got: len(positions(got)) == 2 and not got[-1].events)
    assert positions(got) == [5, 6]
    feed.fill(4, type="identity.User", station_id=None)
    rest = await until(messages(on, types=["identity.Station"], after_cursor=got[-1].cursor), lambda got: bool(got))
    assert [(message.position.position, len(message.events)) for message in rest] == [(10, 0)]


async def test_a_stream_goes_on_from_its_cursor(on: Stage, feed: Feed) -> None:
    feed.fill(700)
    first = await until(messages(on), lambda _: True)
    rest = await until(messages(on, after_cursor=first[0].cursor), lambda _: True)
    assert positions(first + rest) == list(range(1, 701))
    assert feed.starts[1] == ((EPOCH, 500), None, False)


async def test_a_new_event_is_sent_when_it_happens(on: Stage, feed: Feed) -> None:
    stream = messages(on)
    async with asyncio.timeout(1):
        assert not (await anext(stream)).events
        feed.fill(1)
        assert positions([await anext(stream)]) == [1]
    await stream.aclose()


async def test_a_stream_begins_where_it_is_told(on: Stage, feed: Feed) -> None:
    feed.fill(1)
    await until(messages(on, latest=True), lambda _: True)
    await until(messages(on, after_time=START), lambda _: True)
    assert feed.starts == [(None, None, True), (None, START, False)]


async def test_the_end_of_an_epoch_is_where_the_next_begins(on: Stage, feed: Feed) -> None:
    feed.fill(2)
    feed.epoch = NEXT_EPOCH
    [message] = await until(messages(on), lambda _: True)
    assert message.position == message.head, "else who has everything would never know it"
    assert message.events[-1].epoch == str(EPOCH)


async def test_large_events_are_sent_in_smaller_batches(on: Stage, feed: Feed) -> None:
    feed.fill(10, size=900_000)
    got = await until(messages(on), lambda got: len(positions(got)) == 10)
    assert positions(got) == list(range(1, 11))
    assert len(got) == 10
    assert [message.position.position for message in got] == list(range(1, 11))
    assert {complete(message) for message in got[:-1]} == {LONG_AGO}


async def test_a_gap_is_an_error_and_not_skipped(on: Stage, feed: Feed) -> None:
    feed.fill(1)
    feed.events[0].position = 7
    feed.reading = feed.events.clear
    cursor = TOKENS.sign("cursor", {"epoch": str(EPOCH), "position": 3}, None)
    with pytest.raises(Remembered, match="no longer kept"):
        await until(messages(on, after_cursor=cursor), lambda _: False)


@pytest.mark.parametrize(
    "cursor", ["x", TOKENS.sign("page", {"epoch": str(EPOCH), "position": 1}), Tokens(b"o" * 32, now).sign("cursor", {})]
)
async def test_a_cursor_of_something_else_is_invalid(on: Stage, cursor: str) -> None:
    call = events_pb2_grpc.EventsServiceStub(on.peer.channel).StreamEvents(
        events_pb2.StreamEventsRequest(after_cursor=cursor),
        metadata=on.peer._metadata(),  # noqa: SLF001  # the call of a peer, with what grpc says of its failure
    )
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await anext(aiter(call))
    info, bad, _ = details(failed.value)
    assert (failed.value.code(), info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CURSOR_INVALID")
    assert [violation.field for violation in bad.field_violations] == ["after_cursor"]


class Inbox:
    """Applies batches in memory, and fails when it is told to."""

    def __init__(self) -> None:
        self.kept: str | None = None
        self.applied: list[int] = []
        self.batches: list[Batch] = []
        self.steps: list[str] = []
        self.fail_at: set[int] = set()
        self.moved = asyncio.Event()

    async def cursor(self) -> str | None:
        self.steps.append("cursor")
        return self.kept

    async def begin(self) -> None:
        self.steps.append("begin")

    async def apply(self, batch: Batch) -> None:
        self.steps.append("apply")
        new = [event.position for event in batch.events]
        if self.fail_at.intersection(new):
            self.fail_at.clear()
            raise ValueError("the handler fails once")
        self.applied.extend(new)
        self.batches.append(batch)
        self.kept = batch.cursor
        self.moved.set()


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


async def applied(inbox: Inbox, count: int) -> None:
    """Waits for it."""
    async with asyncio.timeout(10):
        while len(inbox.applied) < count:
            inbox.moved.clear()
            await inbox.moved.wait()


async def stopped(task: "asyncio.Task[None]") -> None:
    """Ends a consumer."""
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_a_consumer_applies_everything_once_although_it_fails_in_between(on: Stage, feed: Feed, inbox: Inbox) -> None:
    feed.fill(1400)
    inbox.fail_at = {700}
    task = asyncio.create_task(Consumer(on.peer, ["identity.Station"], inbox).run())
    await applied(inbox, 1400)
    feed.fill(1)
    await applied(inbox, 1401)
    await stopped(task)
    assert inbox.applied == list(range(1, 1402))
    assert [start[0] for start in feed.starts] == [None, (EPOCH, 500)]
    assert inbox.steps[:6] == ["cursor", "begin", "apply", "apply", "cursor", "begin"]
    last = inbox.batches[-1]
    assert (last.head, last.position, last.complete_until) == (
        (EPOCH, 1401),
        (EPOCH, 1401),
        START + timedelta(seconds=1401, milliseconds=500),
    )


async def test_a_consumer_outlives_its_peer_and_goes_on_from_its_cursor(
    feed: Feed, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpccommon.feed.HEARTBEAT_SECONDS", 0.1)
    feed.fill(10)
    async with stage(EventsServicer(feed, TOKENS)) as first:
        task = asyncio.create_task(Consumer(first.peer, [], inbox).run())
        await applied(inbox, 10)
        await first.server.stop()
        feed.fill(5)
        await asyncio.sleep(0)
        assert not task.done()
        await stopped(task)
    async with stage(EventsServicer(feed, TOKENS)) as second:
        task = asyncio.create_task(Consumer(second.peer, [], inbox).run())
        await applied(inbox, 15)
        await stopped(task)
    assert inbox.applied == list(range(1, 16))


async def test_a_consumer_leaves_a_stream_that_fell_silent(
    on: Stage, feed: Feed, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpccommon.feed.SILENCE_SECONDS", 0.2)
    monkeypatch.setattr("rpccommon.feed.HEARTBEAT_SECONDS", 60.0)
    task = asyncio.create_task(Consumer(on.peer, [], inbox).run())
    async with asyncio.timeout(10):
        while len(feed.starts) < 3:
            await asyncio.sleep(0.01)
    await stopped(task)


async def test_a_consumer_goes_on_asking_where_it_is_refused(on: Stage, feed: Feed, inbox: Inbox) -> None:
    feed.fault = CursorDiverged("resynchronise")
    task = asyncio.create_task(Consumer(on.peer, [], inbox).run())
    async with asyncio.timeout(10):
        while len(feed.starts) < 3:
            await asyncio.sleep(0.01)
    feed.fault = None
    feed.fill(1)
    await applied(inbox, 1)
    await stopped(task)
