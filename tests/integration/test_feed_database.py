"""The feed on a real Postgres: dense positions, order for each entity, exactly once on the other side."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from bookings.tables import outbox
from dbcommon import feed
from dbcommon.database import Database, Transaction
from dbcommon.feed import Event, Feed
from dbcommon.inbox import STALE_SECONDS, Freshness, Inbox, forget_readiness
from dbcommon.relay import Relay
from dbcommon.resync import Superseded
from faults import CursorDiverged, FeedStale, LockTimeout
from ids import new_id
from local.database import Server

WRITERS = 8
EACH = 25
ENTITIES = [new_id() for _ in range(5)]


@pytest.fixture
async def platform(server: Server, database: str) -> AsyncIterator[Database]:
    """The role that crosses stations."""
    made = Database(server.url(database, "bookings_platform"), pool_size=WRITERS + 2)
    yield made
    await made.close()


@pytest.fixture
def relay(platform: Database) -> Relay:
    """The relay of bookings."""
    return Relay(platform, "bookings", new_id)


async def put(platform: Database, entity: UUID) -> None:
    """A change of an entity: its lock first, then its next version; other work before and between, as in real transactions."""
    async with platform.transaction() as tx:
        await tx.execute("SELECT pg_current_xact_id()")
        await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended(:e, 0))", {"e": str(entity)})
        await asyncio.sleep(0)
        last = "SELECT coalesce(max(version), 0) FROM (SELECT version FROM bookings.outbox WHERE entity_id = :e UNION ALL SELECT version FROM bookings.events WHERE entity_id = :e) v"
        version = (await tx.execute(last, {"e": entity})).value() + 1
        await feed.append(
            tx, outbox, Event(event_id=new_id(), type="bookings.Booking", entity_id=entity, version=version, payload=b"")
        )  # fmt: skip


async def everything(platform: Database) -> Sequence[Any]:
    async with platform.transaction(read_only=True) as tx:
        return await tx.execute("SELECT position, entity_id, version FROM bookings.events ORDER BY position")


async def test_many_writers_at_once_get_dense_positions_and_each_entity_its_order(platform: Database, relay: Relay) -> None:
    async def writer(number: int) -> None:
        for n in range(EACH):
            await put(platform, ENTITIES[(number + n) % len(ENTITIES)])

    async def relaying() -> None:
        while True:
            await relay.step()

    moving = asyncio.create_task(relaying())
    await asyncio.gather(*(writer(number) for number in range(WRITERS)))
    moving.cancel()
    await asyncio.wait({moving})
    while await relay.step():
        pass
    events = await everything(platform)
    assert [event.position for event in events] == list(range(1, WRITERS * EACH + 1))
    for entity in ENTITIES:
        versions = [event.version for event in events if event.entity_id == entity]
        assert versions == list(range(1, len(versions) + 1))


async def test_two_relays_at_once_move_each_event_once(platform: Database, relay: Relay) -> None:
    for _ in range(20):
        await put(platform, ENTITIES[0])
    await asyncio.gather(*(Relay(platform, "bookings", new_id).step() for _ in range(4)))
    assert [event.version for event in await everything(platform)] == list(range(1, 21))


async def test_before_its_epoch_has_begun_a_feed_says_nothing(platform: Database, relay: Relay) -> None:
    with pytest.raises(FeedStale):
        await Feed(platform, "bookings").head()
    await relay.step()
    assert (await Feed(platform, "bookings").head()).position == 0


async def test_another_life_of_the_database_is_another_epoch_and_positions_go_on(platform: Database, relay: Relay) -> None:
    await put(platform, ENTITIES[0])
    await relay.step()
    source = Feed(platform, "bookings")
    before = await source.head()
    async with platform.transaction() as tx:  # as if the server had been started anew
        await tx.execute("INSERT INTO bookings.epochs VALUES (:e, 'another life', 2)", {"e": (other := new_id())})
        await tx.execute("UPDATE bookings.feed_head SET epoch = :e", {"e": other})
    with pytest.raises(FeedStale):
        await source.head()
    await put(platform, ENTITIES[0])
    await relay.step()
    after = await source.head()
    assert after.epoch not in {before.epoch, other}
    assert after.position == before.position + 1
    with pytest.raises(CursorDiverged):
        await source.start(after=(new_id(), 1), after_time=None, latest=False)
    with pytest.raises(CursorDiverged):
        await source.start(after=(before.epoch, before.position + 1), after_time=None, latest=False)
    events, _ = await source.after((before.epoch, before.position), types=[], tenants=[], limit=10)
    assert [event.version for event in events] == [2]


@dataclass(frozen=True)
class Heard:
    """One event of a batch."""

    position: int
    type: str = "identity.Station"
    entity_id: str = str(UUID(int=1))


@dataclass(frozen=True)
class Batch:
    """What comes at once."""

    events: Sequence[Heard]
    cursor: str
    position: tuple[UUID, int]
    head: tuple[UUID, int]
    complete_until: datetime = datetime(2030, 1, 1, tzinfo=UTC)
    registered: Sequence[str] = ()


def batch(first: int, last: int, head: int) -> Batch:
    """The events from `first` to `last` of a feed that ends at `head`."""
    epoch = UUID(int=1)
    return Batch([Heard(n) for n in range(first, last + 1)], f"after {last}", (epoch, last), (epoch, head))


def repr_of(event: Heard) -> bytes:
    """An event as it would be set aside."""
    return repr(event).encode()


class Applied:
    """An inbox, and what its handler saw and committed."""

    def __init__(self, platform: Database) -> None:
        self.seen: list[int] = []
        self.fail_at = 0
        self.inbox = Inbox(platform, "bookings", "identity", {"identity.Station": self.handle}, repr_of)

    async def handle(self, tx: Transaction, event: Heard) -> None:
        if event.position == self.fail_at:
            raise LockTimeout("somebody else is at it")
        self.seen.append(event.position)


async def test_a_batch_that_cannot_be_applied_now_moves_nothing(platform: Database) -> None:
    applied = Applied(platform)
    assert await applied.inbox.cursor() is None
    await applied.inbox.begin()
    await applied.inbox.apply(batch(1, 2, 4))
    applied.fail_at = 4
    with pytest.raises(LockTimeout):
        await applied.inbox.apply(batch(3, 4, 4))
    assert await applied.inbox.cursor() == "after 2"


async def test_of_two_consumers_one_moves_the_cursor_and_the_other_begins_anew(platform: Database) -> None:
    one, two = Applied(platform), Applied(platform)
    for each in (one, two):
        await each.inbox.cursor()
        await each.inbox.begin()
    await one.inbox.apply(batch(1, 2, 2))
    with pytest.raises(Superseded):
        await two.inbox.apply(batch(1, 2, 2))
    assert (one.seen, two.seen) == ([1, 2], [])


@pytest.mark.parametrize(("head", "ready"), [(3, False), (2, True)])
async def test_a_service_is_ready_once_it_has_applied_all_up_to_the_head(platform: Database, head: int, *, ready: bool) -> None:
    applied = Applied(platform)
    await applied.inbox.cursor()
    await applied.inbox.begin()
    await applied.inbox.apply(batch(1, 2, head))
    look = "SELECT ready_incarnation = bookings.incarnation() FROM bookings.feed_state WHERE owner = 'identity'"
    async with platform.transaction(read_only=True) as tx:
        assert bool((await tx.execute(look)).value()) is ready


async def readied(platform: Database, *registered: str) -> list[str] | None:
    """What a service is ready for once a process that has registered columns has applied all up to the head; None for nothing."""
    applied = Applied(platform)
    await applied.inbox.cursor()
    await applied.inbox.begin()
    await applied.inbox.apply(replace(batch(3, 2, 2), registered=registered))
    look = "SELECT CASE WHEN ready_incarnation = bookings.incarnation() THEN ready_columns END FROM bookings.feed_state"
    async with platform.transaction(read_only=True) as tx:
        found: list[str] | None = (await tx.execute(look)).value()
    return found


async def test_a_service_is_ready_for_the_columns_that_any_of_its_processes_has_registered(platform: Database) -> None:
    assert await readied(platform) == []
    assert await readied(platform, "b.id") == ["b.id"]
    assert await readied(platform, "a.id", "b.id") == ["a.id", "b.id"]
    assert await readied(platform, "b.id") == ["a.id", "b.id"]  # code of before, which leads while a release is rolled out


async def test_after_a_restart_only_what_was_registered_again_is_ready(platform: Database) -> None:
    assert await readied(platform, "a.id", "b.id") == ["a.id", "b.id"]
    async with platform.transaction() as tx:
        await tx.execute(forget_readiness("bookings"))
    assert await readied(platform, "b.id") == ["b.id"]


NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
EARLIER = NOON - timedelta(seconds=20)


async def test_who_has_heard_all_believes_a_clock_that_was_set_back_and_who_has_not_keeps_what_was_heard(
    platform: Database,
) -> None:
    applied, fresh = Applied(platform), Freshness(platform, "bookings", lambda: NOON)
    await applied.inbox.cursor()
    await applied.inbox.begin()
    for head, said, until in ((2, NOON, NOON), (3, EARLIER, NOON), (2, EARLIER, EARLIER)):
        await applied.inbox.apply(replace(batch(3, 2, head), complete_until=said))
        await fresh.look()
        assert fresh.complete_until("identity") == until
    fresh.require("identity")


async def test_a_feed_that_is_said_to_be_complete_up_to_later_than_now_is_stale_where_that_stands_still(platform: Database) -> None:
    """Its owner's clock ran ahead, and its relay has stopped since."""
    applied, clock = Applied(platform), [NOON]
    fresh = Freshness(platform, "bookings", lambda: clock[0])
    await applied.inbox.cursor()
    await applied.inbox.begin()
    for ahead in (3_600, 3_601):
        await applied.inbox.apply(replace(batch(3, 2, 2), complete_until=NOON + timedelta(seconds=ahead)))
        await fresh.look()
    fresh.require("identity")
    clock[0] += timedelta(seconds=STALE_SECONDS + 1)
    await applied.inbox.apply(replace(batch(3, 2, 2), complete_until=NOON + timedelta(seconds=3_601)))
    await fresh.look()
    with pytest.raises(FeedStale):
        fresh.require("identity")
