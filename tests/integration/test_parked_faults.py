"""What is not an event's own fault is not counted against it; and whoever is killed at whatever moment, each effect is there once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from dbcommon.database import Transaction
from dbcommon.parked import ATTEMPTS_MAX
from dbcommon.resync import Superseded
from faults import DatabaseUnavailable, DeadlineExceeded, FeedStale, LockTimeout, Overloaded
from ids import new_id
from local.database import Server
from tests.integration.aside import Follower, follower_on, wrong
from tests.integration.killed import killed_everywhere

BAD, GOOD, BETTER = (new_id() for _ in range(3))
PASSING = [
    DatabaseUnavailable("away"), LockTimeout("kept"), DeadlineExceeded("slow"), Overloaded("full"), FeedStale("old"),
    OSError("too many open files"), MemoryError(), asyncpg.ConnectionDoesNotExistError("it broke"),
]  # fmt: skip
SECRET = "bo@example.com"  # noqa: S105  # somebody's address


@pytest.fixture
async def one(server: Server, database: str) -> AsyncIterator[Follower]:
    """A service that follows."""
    async with follower_on(server, database) as made:
        yield made


def again(before: Follower) -> Follower:
    """The same service in another process."""
    return Follower(before.platform, before.stream, before.broken)


async def test_what_passes_counts_against_no_event(one: Follower) -> None:
    for error in PASSING:
        one.broken[BAD] = lambda error=error: error  # type: ignore[misc]  # bound here
        one.stream.tell(GOOD, BAD)
        with pytest.raises(type(error)):
            await again(one).follow()
        assert (await one.lying(), await one.applied(), await one.inbox.cursor()) == ([], [], None)
    one.broken[BAD] = wrong
    await one.follow()
    for error in PASSING:
        one.broken[BAD] = lambda error=error: error  # type: ignore[misc]  # bound here
        await again(one).attempts(1)
        assert (await one.lying())[0] == (BAD, 1, 1, "retried")
    one.broken.clear()
    await one.attempts(1)
    assert await one.applied() == [(each, n) for each in (GOOD, BAD) for n in range(1, len(PASSING) + 1)]


async def test_a_lock_that_another_holds_too_long_is_nobodys_fault(one: Follower, outside: asyncpg.Connection) -> None:
    one.stream.tell(GOOD)
    async with outside.transaction():
        await outside.execute("LOCK TABLE bookings.effects IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(LockTimeout):
            await one.follow()
    assert await one.lying() == []
    await one.follow()
    assert await one.applied() == [(GOOD, 1)]


async def test_a_schema_that_is_not_that_of_this_code_yet_is_not_the_events_fault(
    one: Follower, outside: asyncpg.Connection
) -> None:
    one.stream.tell(GOOD)
    await outside.execute("ALTER TABLE bookings.effects RENAME COLUMN version TO was")
    with pytest.raises(asyncpg.PostgresError):
        await one.follow()
    await outside.execute("ALTER TABLE bookings.effects RENAME COLUMN was TO version")
    assert await one.lying() == []
    await again(one).follow()
    assert await one.applied() == [(GOOD, 1)]


async def test_a_backend_that_is_killed_under_a_handler_is_not_the_events_fault(one: Follower, outside: asyncpg.Connection) -> None:
    handle = one.handle
    killed: list[int] = []

    async def dies(tx: Transaction, told: Any) -> None:
        await handle(tx, told)
        if told.entity_id == str(BAD) and len(killed) < 2:
            killed.append((await tx.execute("SELECT pg_backend_pid()")).value())
            await outside.execute("SELECT pg_terminate_backend($1)", killed[-1])
            await tx.execute("SELECT 1")

    one.inbox._handlers = {"identity.Station": dies}
    one.stream.tell(GOOD, BAD)
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            await one.follow()
    assert (await one.lying(), await one.applied()) == ([], [])
    await one.follow()
    assert await one.applied() == [(GOOD, 1), (BAD, 1)]


@pytest.mark.parametrize("where", ["apply", "retry"])
async def test_a_cancellation_is_not_the_events_fault(one: Follower, where: str) -> None:
    working = asyncio.Event()
    handle = one.handle

    async def hangs(tx: Transaction, told: Any) -> None:
        await handle(tx, told)
        working.set()
        await asyncio.Event().wait()

    one.broken[BAD] = wrong
    one.stream.tell(BAD)
    if where == "retry":
        await one.follow()
        await one.now()
    one.inbox._handlers, one.parked._handlers = {"identity.Station": hangs}, {"identity": {"identity.Station": hangs}}
    del one.broken[BAD]
    task = asyncio.create_task(one.follow() if where == "apply" else one.parked.step())
    await working.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert await one.lying() == ([] if where == "apply" else [(BAD, 1, 1, "retried")])
    assert await one.applied() == []


async def broken_row(tx: Transaction) -> None:
    """The database tells the whole row that it refuses."""
    await tx.execute("INSERT INTO bookings.effects (entity_id, version, once) VALUES (:e, -1, :o)", {"e": BAD, "o": SECRET})


async def broken_value(tx: Transaction) -> None:
    """The driver tells the value that it refuses."""
    await tx.execute("SELECT CAST(:v AS uuid)", {"v": SECRET})


async def broken_text(tx: Transaction) -> None:
    raise ValueError(f"{SECRET} is no address")


@pytest.mark.parametrize(
    ("breaks", "name", "said"),
    [
        (broken_row, "CheckViolationError", "the database refuses it: SQLSTATE 23514, effects_positive"),
        (broken_value, "DataError", "the database refuses it: SQLSTATE 22"),
        (broken_text, "ValueError", "raised at "),
    ],
)
async def test_why_an_event_failed_is_told_without_what_it_or_the_rows_hold(
    one: Follower, outside: asyncpg.Connection, breaks: Callable[[Transaction], Coroutine[Any, Any, None]], name: str, said: str
) -> None:
    async def handle(tx: Transaction, told: Any) -> None:
        await breaks(tx)

    one.inbox._handlers, one.parked._handlers = {"identity.Station": handle}, {"identity": {"identity.Station": handle}}
    one.stream.tell(BAD)
    with capture_logs() as lines:
        await one.follow()
        await one.attempts(ATTEMPTS_MAX - 1)
    row = await outside.fetchrow("SELECT * FROM bookings.parked_events")
    assert row
    assert (row["error_class"], row["error_sentence"][: len(said)]) == (name, said)
    assert SECRET not in str(dict(row))
    assert SECRET not in str(lines)
    assert [line["event"] for line in lines] == [
        "an event failed, and is set aside",
        *["an event failed again"] * (ATTEMPTS_MAX - 2),
        "an event is parked: nothing tries it again but `events replay`, and its entity waits",
    ]
    assert all((line["entity_id"], line["error"]) == (str(BAD), name) for line in lines)


async def test_of_two_consumers_at_once_one_sets_aside_and_the_other_begins_anew(one: Follower) -> None:
    one.broken[BAD] = wrong
    one.stream.tell(GOOD, BAD, BAD)
    two = again(one)
    for each in (one, two):
        await each.inbox.cursor()
        await each.inbox.begin()
    done = await asyncio.gather(
        *(each.inbox.apply(one.stream.after(None)) for each in (one, two)), return_exceptions=True
    )  # fmt: skip
    assert [type(result) for result in done if result is not None] == [Superseded]
    assert await one.lying() == [(BAD, 1, 1, "retried"), (BAD, 2, 0, "waiting")]
    assert await one.applied() == [(GOOD, 1)]


async def test_whoever_replays_retries_and_follows_at_once_each_event_has_its_effect_once_and_in_order(one: Follower) -> None:
    one.broken[BAD] = wrong
    one.stream.tell(*[BAD] * 20)
    await one.follow()
    del one.broken[BAD]
    await one.now()
    one.stream.tell(*[BAD, GOOD] * 10)
    head = UUID(one.stream.events[0].event_id)
    others = [again(one) for _ in range(3)]
    await asyncio.gather(
        others[0].parked.replay(head), others[1].parked.step(), others[2].parked.replay(head), one.follow()
    )  # fmt: skip
    await one.parked.step()
    applied = await one.applied()
    for entity, count in ((BAD, 30), (GOOD, 10)):
        assert [version for each, version in applied if each == entity] == list(range(1, count + 1))
    assert await one.lying() == []


async def emptied(outside: asyncpg.Connection) -> None:
    await outside.execute("TRUNCATE bookings.effects, bookings.parked_events, bookings.feed_state, bookings.dropped_events")


async def test_a_consumer_that_is_killed_at_any_await_applies_or_sets_aside_each_event_once(
    one: Follower, outside: asyncpg.Connection
) -> None:
    one.broken[BAD] = wrong
    one.stream.tell(GOOD, BAD, BETTER, BAD)
    async for _ in killed_everywhere(one.platform, outside, lambda: again(one).follow()):
        other = again(one)
        await other.follow()
        assert await other.applied() == [(GOOD, 1), (BETTER, 1)]
        assert await other.lying() == [(BAD, 1, 1, "retried"), (BAD, 2, 0, "waiting")]
        await emptied(outside)


@pytest.mark.parametrize("how", ["replay", "drop", "parks"])
async def test_a_replay_that_is_killed_at_any_await_has_each_effect_once(
    one: Follower, outside: asyncpg.Connection, how: str
) -> None:
    one.stream.tell(BAD, BAD, GOOD)
    head = UUID(one.stream.events[0].event_id)

    async def set_aside() -> None:
        one.broken[BAD] = wrong
        await again(one).follow()
        await outside.execute("UPDATE bookings.parked_events SET attempts = 9, next_attempt_time = now() WHERE attempts = 1")
        if how != "parks":
            del one.broken[BAD]

    async def work(follower: Follower) -> None:
        if how == "drop":
            await follower.parked.drop(head, by="Ann", reason="not needed")
        else:
            await (follower.parked.step() if how == "parks" else follower.parked.replay(head))

    await set_aside()
    async for _ in killed_everywhere(one.platform, outside, lambda: work(again(one))):
        other = again(one)
        await work(other)
        await other.parked.step()
        expected = {"replay": [(BAD, 1), (BAD, 2)], "drop": [(BAD, 2)], "parks": []}[how]
        assert await other.applied() == [(GOOD, 1), *expected]
        assert await other.lying() == ([(BAD, 1, ATTEMPTS_MAX, "parked"), (BAD, 2, 0, "waiting")] if how == "parks" else [])
        await emptied(outside)
        await set_aside()
