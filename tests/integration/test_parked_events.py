"""An event that cannot be applied is set aside: its entity waits for it, nobody else does, and each has its effect once."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from dbcommon.database import Transaction
from dbcommon.parked import ATTEMPTS_MAX, TooManyFail
from ids import new_id
from local.database import Server
from tests.integration.aside import Follower, follower_on, wrong
from tests.integration.watched import statements

BAD, WORSE, GOOD, BETTER = (new_id() for _ in range(4))


@pytest.fixture
async def one(server: Server, database: str) -> AsyncIterator[Follower]:
    """A service that follows."""
    async with follower_on(server, database) as made:
        yield made


def again(before: Follower) -> Follower:
    """The same service in another process: it was restarted, or another replica leads."""
    return Follower(before.platform, before.stream, before.broken)


async def test_an_event_that_fails_is_parked_after_its_tenth_attempt_and_then_tried_no_more(one: Follower) -> None:
    one.broken[BAD] = wrong
    one.stream.tell(BAD)
    await one.follow()
    for attempts in range(1, ATTEMPTS_MAX):
        assert await one.lying() == [(BAD, 1, attempts, "retried")]
        await one.attempts(1)
    assert await one.lying() == [(BAD, 1, ATTEMPTS_MAX, "parked")]
    tried = len(one.tried)
    await one.attempts(3)
    assert len(one.tried) == tried
    assert await one.applied() == []


async def test_each_attempt_waits_longer_than_the_one_before(one: Follower) -> None:
    one.broken[BAD] = wrong
    one.stream.tell(BAD)
    await one.follow()
    pauses = []
    pause = "SELECT extract(epoch FROM next_attempt_time - now()) FROM bookings.parked_events"
    for _ in range(ATTEMPTS_MAX - 1):
        async with one.platform.transaction(read_only=True) as tx:
            pauses.append(float((await tx.execute(pause)).value()))
        tried = len(one.tried)
        await one.parked.step()
        assert len(one.tried) == tried, "it was not due yet"
        await one.attempts(1)
    assert [max(1, round(seconds)) for seconds in pauses] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


async def test_the_others_of_its_batch_are_applied_at_once_and_each_once(one: Follower) -> None:
    entities = [new_id() for _ in range(500)]
    bad, worse = entities[250], entities[499]
    one.broken |= {bad: wrong, worse: wrong}
    one.stream.tell(*entities)
    await one.follow()
    assert await one.applied() == [(entity, 1) for entity in entities if entity not in {bad, worse}]
    assert await one.lying() == [(bad, 1, 1, "retried"), (worse, 1, 1, "retried")]
    assert await one.inbox.cursor() == "500"


async def test_later_events_of_its_entity_wait_behind_it_and_others_flow(one: Follower) -> None:
    one.broken[BAD] = wrong
    one.stream.tell(GOOD, BAD, GOOD, BAD, BETTER)
    await one.follow()
    one.stream.tell(BAD, GOOD)
    await again(one).follow()
    assert await one.applied() == [(GOOD, 1), (GOOD, 2), (BETTER, 1), (GOOD, 3)]
    assert await one.lying() == [(BAD, 1, 1, "retried"), (BAD, 2, 0, "waiting"), (BAD, 3, 0, "waiting")]


async def test_what_waits_is_not_tried_although_it_alone_would_succeed(one: Follower) -> None:
    one.broken[BAD] = wrong
    one.stream.tell(BAD, BAD)
    await one.follow()
    await one.attempts(ATTEMPTS_MAX)
    assert {version for entity, version in one.tried if entity == BAD} == {1}


async def test_what_succeeds_in_the_end_is_applied_with_all_that_waited_in_order(one: Follower) -> None:
    one.broken[BAD] = wrong
    one.stream.tell(BAD, GOOD, BAD, BAD)
    await one.follow()
    await one.attempts(3)
    del one.broken[BAD]
    await one.attempts(1)
    one.stream.tell(BAD)
    await one.follow()
    assert await one.applied() == [(GOOD, 1), (BAD, 1), (BAD, 2), (BAD, 3), (BAD, 4)]
    assert await one.lying() == []


async def test_more_than_one_transaction_takes_is_applied_in_order_too(one: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbcommon.replay.LANE_MAX", 2)
    one.broken[BAD] = wrong
    one.stream.tell(*[BAD] * 5)
    await one.follow()
    del one.broken[BAD]
    await one.attempts(1)
    assert await one.applied() == [(BAD, version) for version in range(1, 6)]


async def test_attempts_are_counted_on_in_another_process(one: Follower) -> None:
    one.broken[BAD] = wrong
    one.stream.tell(BAD)
    await one.follow()
    for attempts in range(1, ATTEMPTS_MAX):
        assert (await one.lying())[0][2] == attempts
        await again(one).attempts(1)
    assert await one.lying() == [(BAD, 1, ATTEMPTS_MAX, "parked")]


async def test_two_entities_of_a_batch_that_fail_do_not_wait_for_each_other(one: Follower) -> None:
    one.broken |= {BAD: wrong, WORSE: wrong}
    one.stream.tell(BAD, WORSE, BAD, GOOD, WORSE)
    await one.follow()
    del one.broken[WORSE]
    await one.attempts(1)
    assert await one.applied() == [(GOOD, 1), (WORSE, 1), (WORSE, 2)]
    assert await one.lying() == [(BAD, 1, 2, "retried"), (BAD, 2, 0, "waiting")]


async def test_an_event_that_only_a_commit_would_refuse_takes_no_others_with_it(one: Follower) -> None:
    """A deferred constraint speaks at the end of the transaction, when it is too late to tell whose fault it was."""
    handle = one.handle

    async def twice(tx: Transaction, told: Any) -> None:
        await handle(tx, told)
        if told.entity_id == str(BAD):
            double = "INSERT INTO bookings.effects (entity_id, version, once) VALUES (:e, 9, 'a'), (:e, 9, 'a')"
            await tx.execute(double, {"e": BAD})

    one.inbox._handlers = {"identity.Station": twice}
    one.stream.tell(GOOD, BAD, BETTER)
    await one.follow()
    assert await one.applied() == [(GOOD, 1), (BETTER, 1)]
    assert await one.lying() == [(BAD, 1, 1, "retried")]


async def test_where_too_many_fail_the_feed_waits_and_loses_nothing(one: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbcommon.parked.ASIDE_MAX", 2)
    entities = [uuid4() for _ in range(3)]
    one.broken |= dict.fromkeys(entities, wrong)
    one.stream.tell(*entities)
    with pytest.raises(TooManyFail):
        await one.follow()
    assert (await one.inbox.cursor(), await one.lying(), await one.applied()) == (None, [], [])
    one.broken.clear()
    await again(one).follow()
    assert await one.applied() == [(entity, 1) for entity in entities]


async def test_an_event_of_another_type_with_the_same_id_waits_for_nobody(one: Follower) -> None:
    one.broken[BAD] = wrong
    one.stream.tell(BAD, BAD)
    seen: list[str] = []

    async def other(tx: Transaction, told: Any) -> None:
        seen.append("other")

    one.inbox._handlers = {**one.inbox._handlers, "identity.User": other}
    one.stream.events[1].type = "identity.User"
    await one.follow()
    assert seen[-1] == "other"
    assert await one.lying() == [(BAD, 1, 1, "retried")]


async def test_an_event_that_no_code_applies_any_more_is_not_lost(one: Follower) -> None:
    one.broken[BAD] = wrong
    one.stream.tell(BAD)
    await one.follow()
    one.parked._handlers = {}
    await one.attempts(1)
    assert [(head.error_class, head.attempts) for head in await one.parked.heads()] == [("NoHandler", 2)]


async def test_a_batch_without_failures_costs_no_statement_more_than_its_handlers_and_the_cursor(one: Follower) -> None:
    await one.inbox.cursor()
    await one.inbox.begin()
    one.stream.tell(GOOD, BETTER)
    batch = one.stream.after(None)
    with statements() as seen:
        await one.inbox.apply(batch)
    assert [statement.split(maxsplit=1)[0] for statement, _ in seen] == ["UPDATE", "INSERT", "INSERT"]
