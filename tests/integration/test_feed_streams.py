"""A real feed streamed to real consumers: what one long transaction delays (nobody), and what a relay that stands still shows."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from teppan.common.v1 import events_pb2, events_pb2_grpc

from dbcommon.database import Database, Transaction
from dbcommon.feed import Feed
from dbcommon.inbox import STALE_SECONDS, Freshness, Inbox
from faults import FeedStale
from ids import new_id
from local.database import Server
from rpccommon.feed import CURSOR, Batch, Consumer, EventsServicer
from rpccommon.feed.gauges import RelayGauge, show_followed
from rpccommon.feed.metrics import FeedMetrics
from rpccommon.resync import Page
from tests.integration.asked import eventually
from tests.integration.feeding import TYPE, Owner, owner_on
from tests.integration.stage import Teppan
from tests.unit.rpc_feed import TOKENS
from tests.unit.rpc_stage import Stage, stage

WRITERS, APPLY_SECONDS = 4, 120
LATE = new_id()
ENTITIES = [new_id() for _ in range(50)]
EFFECTS = """CREATE TABLE payments.effects (seq bigserial PRIMARY KEY, subscriber text, entity_id uuid, version bigint, position bigint);
GRANT SELECT, INSERT ON payments.effects TO payments_platform; GRANT USAGE ON SEQUENCE payments.effects_seq_seq TO payments_platform"""


@dataclass
class Subscriber:
    """Follows the feed under a name of its own, and keeps what it applied."""

    name: str
    database: Database
    feed: Feed
    heartbeats: int = 0
    inbox: Inbox = field(init=False)

    def __post_init__(self) -> None:
        self.inbox = Inbox(self.database, "payments", self.name, {TYPE: self._handle}, events_pb2.Event.SerializeToString)

    async def cursor(self) -> str:
        """At first that of the oldest event."""
        epoch = (await self.feed.head()).epoch
        return await self.inbox.cursor() or TOKENS.sign(CURSOR, {"epoch": str(epoch), "position": 0}, None)

    async def begin(self) -> None:
        await self.inbox.begin()

    async def apply(self, batch: Batch) -> None:
        await self.inbox.apply(batch)
        self.heartbeats += not batch.events

    async def resynchronise(self, pages: AsyncIterator[Page]) -> Mapping[str, int]:
        raise AssertionError("the feed goes on from every cursor here")

    async def _handle(self, tx: Transaction, event: events_pb2.Event) -> None:
        insert = (
            "INSERT INTO payments.effects (subscriber, entity_id, version, position) VALUES (:name, :entity, :version, :position)"
        )
        values = {"name": self.name, "entity": event.entity_id, "version": event.version, "position": event.position}
        await tx.execute(insert, values)

    async def applied(self) -> Sequence[Any]:
        """What had its effect, in order."""
        select = "SELECT entity_id, version, position FROM payments.effects WHERE subscriber = :name ORDER BY seq"
        async with self.database.transaction(read_only=True) as tx:
            return await tx.execute(select, {"name": self.name})

    async def reached(self, count: int) -> None:
        """Fails unless so many events were applied."""
        select = "SELECT count(*) FROM payments.effects WHERE subscriber = :name"
        async with self.database.transaction(read_only=True) as tx:
            assert (await tx.execute(select, {"name": self.name})).value() >= count


@dataclass
class Streaming:
    """A feed, its server, and those who follow it."""

    own: Owner
    on: Stage
    payments: Database
    tasks: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)

    def relay(self) -> None:
        """Starts the relay."""
        self.tasks["the relay"] = asyncio.create_task(self.own.relay.run())

    def subscribe(self, name: str) -> Subscriber:
        """Somebody begins to follow, from the oldest event on."""
        subscriber = Subscriber(name, self.payments, self.own.feed)
        self.tasks[name] = asyncio.create_task(
            Consumer(self.on.peer, [TYPE], subscriber, FeedMetrics(CollectorRegistry(), [name])).run()
        )
        return subscriber

    async def stop(self, name: str) -> None:
        """Ends one of them."""
        task = self.tasks.pop(name)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


@pytest.fixture
async def streaming(server: Server, database: str) -> AsyncIterator[Streaming]:
    """The relay runs, and nobody follows yet."""
    async with streaming_on(server, database) as made:
        yield made


@asynccontextmanager
async def streaming_on(server: Server, database: str) -> AsyncIterator[Streaming]:
    async with owner_on(server, database) as own, stage(EventsServicer(own.feed, TOKENS)) as on:
        await own.admin.execute(EFFECTS)
        payments = Database(server.url(database, "payments_platform"), pool_size=5)
        made = Streaming(own, on, payments)
        made.tasks["the watch"] = asyncio.create_task(own.feed.watch())
        made.relay()
        yield made
        for name in list(made.tasks):
            await made.stop(name)
        await payments.close()


async def write(own: Owner, count: int) -> None:
    """So many transactions, by several writers at once."""
    await asyncio.gather(
        *(own.tell(*(ENTITIES[(writer + n) % len(ENTITIES)] for n in range(count // WRITERS))) for writer in range(WRITERS))
    )


@pytest.mark.parametrize(("commits", "seconds"), [(1_000, 0), pytest.param(10_000, 60, marks=pytest.mark.long)])
async def test_a_transaction_that_stays_open_delays_nobody_and_everybody_sees_each_event_once(
    streaming: Streaming, commits: int, seconds: int
) -> None:
    own, loop = streaming.own, asyncio.get_running_loop()
    subscribers = [streaming.subscribe("before")]
    async with own.opened(LATE):
        opened = loop.time()
        await write(own, commits // 2)
        subscribers.append(streaming.subscribe("during"))
        await write(own, commits // 2)
        written = await own.admin.fetchval("SELECT clock_timestamp()")
        for each in subscribers:
            await eventually(lambda each=each: each.reached(commits), seconds=APPLY_SECONDS)
        fresh = Freshness(streaming.payments, "payments", lambda: datetime.now(UTC))
        await eventually(lambda: complete(fresh, "before", written))
        while loop.time() - opened < seconds:
            await asyncio.sleep(0.5)
            await fresh.look()
            for each in subscribers:
                fresh.require(each.name)
    subscribers.append(streaming.subscribe("after"))
    for each in subscribers:
        await eventually(lambda each=each: each.reached(commits + 1), seconds=APPLY_SECONDS)
        applied = await each.applied()
        assert [event.position for event in applied] == list(range(1, commits + 2))
        versions = defaultdict(list)
        for event in applied:
            versions[event.entity_id].append(event.version)
        assert all(seen == list(range(1, len(seen) + 1)) for seen in versions.values())
        assert applied[-1].entity_id == LATE


async def complete(fresh: Freshness, owner: str, instant: datetime) -> None:
    """Fails unless the owner's feed is known to be complete up to an instant."""
    await fresh.look()
    until = fresh.complete_until(owner)
    assert until
    assert until > instant


@pytest.mark.parametrize("seconds", [0, pytest.param(60, marks=pytest.mark.long)])
async def test_a_relay_that_stands_still_shows_in_what_is_called_complete_and_in_the_gauges(
    streaming: Streaming, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    monkeypatch.setattr("rpccommon.feed.servicer.HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr("rpccommon.feed.gauges.LOOK_SECONDS", 0.05)
    own, registry, clock = streaming.own, CollectorRegistry(), [datetime.now(UTC)]
    fresh = Freshness(streaming.payments, "payments", lambda: clock[0])
    show_followed(registry, ["one", "never heard"], fresh.complete_until)
    streaming.tasks["the gauge"] = asyncio.create_task(RelayGauge(registry, own.feed.complete_until).watch())
    follower = streaming.subscribe("one")

    def shown() -> tuple[float, float]:
        owners = [registry.get_sample_value("feed_complete_until_seconds", {"owner": "one"})]
        return owners[0] or 0.0, registry.get_sample_value("relay_complete_until_seconds") or 0.0

    async def moved(instant: datetime) -> None:
        await complete(fresh, "one", instant)
        assert min(shown()) > instant.timestamp()

    await eventually(lambda: moved(clock[0]))
    await streaming.stop("the relay")
    stopped = await own.admin.fetchval("SELECT clock_timestamp()")
    await own.tell(LATE)
    heard = follower.heartbeats
    while follower.heartbeats < heard + 5:  # heartbeats go on, and say so
        await asyncio.sleep(0.01)
    await asyncio.sleep(seconds)
    await fresh.look()
    assert max(shown()) < stopped.timestamp()
    assert registry.get_sample_value("feed_complete_until_seconds", {"owner": "never heard"}) == 0
    clock[0] = max(datetime.now(UTC), stopped + timedelta(seconds=31))
    with pytest.raises(FeedStale):
        fresh.require("one")
    clock[0] = datetime.now(UTC)
    streaming.relay()
    await eventually(lambda: follower.reached(1))
    await eventually(lambda: moved(stopped))
    fresh.require("one")


async def test_the_head_of_the_first_message_is_read_after_the_call_began(streaming: Streaming) -> None:
    await streaming.stop("the watch")  # what it saw last is old now
    await streaming.own.tell(LATE)
    await eventually(lambda: published(streaming.own, 1))
    stub = events_pb2_grpc.EventsServiceStub(streaming.on.peer.channel)
    messages = streaming.on.peer.stream(stub.StreamEvents, events_pb2.StreamEventsRequest(latest=True))
    message = await anext(messages)
    await messages.aclose()
    assert (message.head.position, message.position.position) == (1, 1)
    streaming.tasks["the watch"] = asyncio.create_task(streaming.own.feed.watch())


async def published(own: Owner, position: int) -> None:
    """Fails unless so many events were published."""
    assert (await own.feed.head()).position == position


async def test_every_service_shows_its_relay_and_the_feeds_that_it_follows(teppan: Teppan) -> None:
    for service, owners in (("identity", []), ("bookings", ["identity", "payments"]), ("payments", ["bookings", "identity"])):
        metrics = teppan.registries[service]
        shown = [
            sample for family in metrics.collect() for sample in family.samples if sample.name == "feed_complete_until_seconds"
        ]
        assert sorted(sample.labels["owner"] for sample in shown) == owners

        async def fresh(metrics: CollectorRegistry = metrics, owners: Sequence[str] = owners) -> None:
            values = [metrics.get_sample_value("feed_complete_until_seconds", {"owner": owner}) for owner in owners]
            values.append(metrics.get_sample_value("relay_complete_until_seconds"))
            assert all(value and datetime.now(UTC).timestamp() - value < STALE_SECONDS for value in values)

        await eventually(fresh)
