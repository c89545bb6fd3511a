"""What an operator does about events that are parked: replays them once they can be applied, or drops them with a reason."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
from teppan.common.v1.events_pb2 import Event

from dbcommon.database import Transaction
from dbcommon.parked import ATTEMPTS_MAX
from ids import new_id
from local.database import Server
from tests.integration.aside import Follower, follower_on, wrong

BAD, WORSE, GOOD = (new_id() for _ in range(3))


@pytest.fixture
async def one(server: Server, database: str) -> AsyncIterator[Follower]:
    """A service that follows, with two parked entities, behind the first of which two events wait."""
    async with follower_on(server, database) as made:
        made.broken |= {BAD: wrong, WORSE: wrong}
        made.stream.tell(BAD, WORSE, BAD, BAD, GOOD)
        await made.follow()
        await made.attempts(ATTEMPTS_MAX - 1)
        yield made


@pytest.fixture
async def rows(server: Server, database: str) -> AsyncIterator[asyncpg.Connection]:
    """Sees everything."""
    connection = await asyncpg.connect(server.url(database))
    yield connection
    await connection.close()


def first(follower: Follower, entity: UUID, version: int = 1) -> UUID:
    """The ID of an event."""
    return next(
        UUID(event.event_id) for event in follower.stream.events if (event.entity_id, event.version) == (str(entity), version)
    )


async def test_a_replay_after_the_handler_is_mended_applies_all_of_the_entity_in_order_and_once(one: Follower) -> None:
    del one.broken[BAD]
    advanced = await one.parked.replay(first(one, BAD))
    assert advanced
    assert (advanced.applied, advanced.failure) == (3, None)
    assert await one.applied() == [(GOOD, 1), (BAD, 1), (BAD, 2), (BAD, 3)]
    assert await one.lying() == [(WORSE, 1, ATTEMPTS_MAX, "parked")]
    assert await one.parked.replay(first(one, BAD)) is None


async def test_a_replay_of_one_that_waits_begins_with_what_it_waits_for(one: Follower) -> None:
    del one.broken[BAD]
    await one.parked.replay(first(one, BAD, 3))
    assert await one.applied() == [(GOOD, 1), (BAD, 1), (BAD, 2), (BAD, 3)]


async def test_a_replay_that_fails_says_so_and_the_event_stays_parked(one: Follower) -> None:
    advanced = await one.parked.replay(first(one, BAD))
    assert advanced
    assert advanced.failure
    assert (advanced.applied, advanced.event_id, advanced.failure.name) == (0, first(one, BAD), "ValueError")
    assert await one.lying() == [
        (BAD, 1, ATTEMPTS_MAX + 1, "parked"),
        (WORSE, 1, ATTEMPTS_MAX, "parked"),
        (BAD, 2, 0, "waiting"),
        (BAD, 3, 0, "waiting"),
    ]


async def test_where_one_that_waited_fails_it_is_tried_ten_times_like_any_other(one: Follower) -> None:
    del one.broken[BAD]
    handle = one.handle

    async def second_fails(tx: Transaction, event: Event) -> None:
        await handle(tx, event)
        if event.entity_id == str(BAD) and event.version == 2:
            raise ValueError("it cannot be applied")

    one.parked._handlers = {"identity": {"identity.Station": second_fails}}
    advanced = await one.parked.replay(first(one, BAD))
    assert advanced
    assert (advanced.applied, advanced.event_id) == (1, first(one, BAD, 2))
    assert [row for row in await one.lying() if row[0] == BAD] == [(BAD, 2, 1, "retried"), (BAD, 3, 0, "waiting")]
    await one.attempts(ATTEMPTS_MAX - 1)
    assert [row for row in await one.lying() if row[0] == BAD] == [(BAD, 2, ATTEMPTS_MAX, "parked"), (BAD, 3, 0, "waiting")]
    assert await one.applied() == [(GOOD, 1), (BAD, 1)]


async def test_what_is_dropped_has_no_effect_and_a_reason_and_what_waited_behind_it_is_applied(
    one: Follower, rows: asyncpg.Connection
) -> None:
    dropped = first(one, BAD)
    del one.broken[BAD]
    advanced = await one.parked.drop(dropped, by="Ann", reason="a duplicate of ticket 12")
    assert advanced
    assert advanced.applied == 2
    assert await one.applied() == [(GOOD, 1), (BAD, 2), (BAD, 3)]
    journal = await rows.fetch(
        "SELECT event_id, entity_id, version, attempts, error_class, dropped_by, reason, drop_time <= now() AS then, event"
        " FROM bookings.dropped_events"
    )
    assert [tuple(row)[:-1] for row in journal] == [
        (dropped, BAD, 1, ATTEMPTS_MAX, "ValueError", "Ann", "a duplicate of ticket 12", True)
    ]
    assert journal[0]["event"] == one.stream.events[0].SerializeToString()


async def test_what_waits_behind_can_be_dropped_too_and_wakes_nobody(one: Follower) -> None:
    tried = len(one.tried)
    advanced = await one.parked.drop(first(one, BAD, 2), by="Ann", reason="not needed")
    assert advanced
    assert (advanced.applied, len(one.tried)) == (0, tried)
    del one.broken[BAD]
    await one.parked.replay(first(one, BAD))
    assert await one.applied() == [(GOOD, 1), (BAD, 1), (BAD, 3)]


async def test_what_is_not_there_can_neither_be_replayed_nor_dropped(one: Follower, rows: asyncpg.Connection) -> None:
    for id in (new_id(), first(one, GOOD)):
        assert await one.parked.replay(id) is None
        assert await one.parked.drop(id, by="Ann", reason="none") is None
    assert await rows.fetchval("SELECT count(*) FROM bookings.dropped_events") == 0
    assert len(await one.lying()) == 4


async def test_what_was_dropped_and_not_followed_up_is_taken_up_by_the_elected_process(
    one: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    del one.broken[BAD]

    async def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(one.parked, "_advance", dies)
    with pytest.raises(KeyboardInterrupt):
        await one.parked.drop(first(one, BAD), by="Ann", reason="not needed")
    monkeypatch.undo()
    await one.parked.step()
    assert await one.applied() == [(GOOD, 1), (BAD, 2), (BAD, 3)]


async def test_the_list_shows_what_failed_with_why_and_how_many_wait_behind_it(one: Follower) -> None:
    heads = await one.parked.heads()
    assert [(head.entity_id, head.state, head.attempts, head.waiting, head.error_class) for head in heads] == [
        (BAD, "parked", ATTEMPTS_MAX, 2, "ValueError"),
        (WORSE, "parked", ATTEMPTS_MAX, 0, "ValueError"),
    ]
    assert all("tests.integration.aside:" in head.error_sentence for head in heads)


async def test_the_counts_are_by_owner_type_and_state(one: Follower) -> None:
    counts = await one.parked.counts()
    assert {(count.owner, count.type, count.state): count.events for count in counts} == {
        ("identity", "identity.Station", "parked"): 2,
        ("identity", "identity.Station", "waiting"): 2,
    }
    assert all(count.seconds >= 0 for count in counts)


async def test_dropped_events_stay_in_the_journal(server: Server, database: str) -> None:
    connection = await asyncpg.connect(server.url(database, "bookings_platform"))
    for change in ("DELETE FROM bookings.dropped_events", "UPDATE bookings.dropped_events SET reason = ''"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(change)
    await connection.close()
    app = await asyncpg.connect(server.url(database, "bookings_app"))
    for table in ("parked_events", "dropped_events"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.fetch(f"SELECT FROM bookings.{table}")
    await app.close()
