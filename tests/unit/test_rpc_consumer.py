"""Who follows a feed: resumed from where it was applied, whatever breaks."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from faults import CursorDiverged, EpochLeft, PeerUnavailable
from rpccommon.feed import CURSOR, Batch, Consumer, EventsServicer, Registered
from rpccommon.feed.metrics import FeedMetrics
from rpccommon.resync import Page
from tests.unit.rpc_feed import EPOCH, START, TOKENS, Feed
from tests.unit.rpc_stage import Stage, stage


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
async def on(feed: Feed) -> AsyncIterator[Stage]:
    async with stage(EventsServicer(feed, TOKENS)) as running:
        yield running


def cursor_at(position: int) -> str:
    """A cursor of the feed."""
    return TOKENS.sign(CURSOR, {"epoch": str(EPOCH), "position": position}, None)


class Inbox:
    """Applies batches in memory, and fails when it is told to."""

    def __init__(self) -> None:
        self.kept: str | None = cursor_at(0)
        self.applied: list[int] = []
        self.batches: list[Batch] = []
        self.steps: list[str] = []
        self.pages: list[Page] = []
        self.fail_at: set[int] = set()
        self.moved = asyncio.Event()

    async def cursor(self) -> str | None:
        self.steps.append("cursor")
        return self.kept

    async def begin(self) -> None:
        self.steps.append("begin")

    async def resynchronise(self, pages: AsyncIterator[Page]) -> dict[str, int]:
        self.steps.append("resynchronise")
        taken = [page async for page in pages]
        self.pages += taken
        self.kept = taken[0].cursor
        return {"identity.Station": 2}

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
    task = asyncio.create_task(Consumer(on.peer, ["identity.Station"], inbox, FeedMetrics(CollectorRegistry(), ["test"])).run())
    await applied(inbox, 1400)
    feed.fill(1)
    await applied(inbox, 1401)
    await stopped(task)
    assert inbox.applied == list(range(1, 1402))
    assert [start[0] for start in feed.starts] == [(EPOCH, 0), (EPOCH, 500)]
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
    monkeypatch.setattr("rpccommon.feed.servicer.HEARTBEAT_SECONDS", 0.1)
    feed.fill(10)
    async with stage(EventsServicer(feed, TOKENS)) as first:
        task = asyncio.create_task(Consumer(first.peer, [], inbox, FeedMetrics(CollectorRegistry(), ["test"])).run())
        await applied(inbox, 10)
        await first.server.stop()
        feed.fill(5)
        await asyncio.sleep(0)
        assert not task.done()
        await stopped(task)
    async with stage(EventsServicer(feed, TOKENS)) as second:
        task = asyncio.create_task(Consumer(second.peer, [], inbox, FeedMetrics(CollectorRegistry(), ["test"])).run())
        await applied(inbox, 15)
        await stopped(task)
    assert inbox.applied == list(range(1, 16))


async def test_a_consumer_leaves_a_stream_that_fell_silent(
    on: Stage, feed: Feed, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpccommon.feed.consumer.SILENCE_SECONDS", 0.2)
    monkeypatch.setattr("rpccommon.feed.servicer.HEARTBEAT_SECONDS", 60.0)
    task = asyncio.create_task(Consumer(on.peer, [], inbox, FeedMetrics(CollectorRegistry(), ["test"])).run())
    async with asyncio.timeout(10):
        while len(feed.starts) < 3:
            await asyncio.sleep(0.01)
    await stopped(task)


async def test_a_consumer_goes_on_asking_where_it_is_refused(on: Stage, feed: Feed, inbox: Inbox) -> None:
    feed.fault = CursorDiverged("resynchronise")
    task = asyncio.create_task(Consumer(on.peer, [], inbox, FeedMetrics(CollectorRegistry(), ["test"])).run())
    async with asyncio.timeout(10):
        while len(feed.starts) < 3:
            await asyncio.sleep(0.01)
    feed.fault = None
    feed.fill(1)
    await applied(inbox, 1)
    await stopped(task)


async def test_who_refers_registers_before_each_stream_and_follows_nothing_until_it_is_answered(
    on: Stage, feed: Feed, inbox: Inbox
) -> None:
    async def register() -> Registered:
        inbox.steps.append("register")
        if inbox.steps.count("register") < 3:
            raise PeerUnavailable("not yet", peer="test")
        return Registered(columns=["slots.station_id"])

    feed.fill(3)
    task = asyncio.create_task(Consumer(on.peer, [], inbox, FeedMetrics(CollectorRegistry(), ["test"]), register=register).run())
    await applied(inbox, 3)
    await stopped(task)
    assert inbox.steps[:10] == ["cursor", "begin", "register"] * 3 + ["apply"]
    assert inbox.batches[0].registered == ["slots.station_id"]


async def test_who_has_to_wait_with_registering_for_a_purge_follows_meanwhile_and_asks_again(
    on: Stage, feed: Feed, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpccommon.feed.consumer.REGISTER_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr("rpccommon.feed.servicer.HEARTBEAT_SECONDS", 0.05)

    async def register() -> Registered:
        inbox.steps.append("register")
        complete = inbox.steps.count("register") == 3
        return Registered(columns=["slots.station_id", *(["slots.user_id"] if complete else [])], complete=complete)

    feed.fill(3)
    task = asyncio.create_task(Consumer(on.peer, [], inbox, FeedMetrics(CollectorRegistry(), ["test"]), register=register).run())
    async with asyncio.timeout(10):
        while not inbox.batches or len(inbox.batches[-1].registered) == 1:
            await asyncio.sleep(0.01)
    await stopped(task)
    assert inbox.applied == [1, 2, 3]
    assert inbox.steps[:9] == ["cursor", "begin", "register", "apply"] * 2 + ["cursor"]
    assert [len(batch.registered) for batch in inbox.batches[:3]] == [1, 1, 2]


async def test_a_feed_in_an_epoch_that_was_left_is_counted_for_an_alert(
    on: Stage, feed: Feed, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(batch: Batch) -> None:
        raise EpochLeft("it was left", feed="test")

    monkeypatch.setattr(inbox, "apply", refuse)
    registry = CollectorRegistry()
    task = asyncio.create_task(Consumer(on.peer, [], inbox, FeedMetrics(registry, ["test"])).run())
    assert registry.get_sample_value("feed_left_epoch_total", {"owner": "test"}) == 0
    async with asyncio.timeout(10):
        while (registry.get_sample_value("feed_left_epoch_total", {"owner": "test"}) or 0) < 2:
            await asyncio.sleep(0.01)
    await stopped(task)
