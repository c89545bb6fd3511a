"""Checks of references: together, once, and nobody spoils another's answer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from teppan.bookings.v1 import bookings_pb2

from faults import FeedStale, PeerUnavailable
from rpccommon import present
from rpccommon.references import Answer, Checker
from tests.unit.rpc_owned import EPOCH, NOT_FOUND, OPEN, Source, servicer
from tests.unit.rpc_stage import STATION, Stage, now, stage

STATIONS = "identity.Station"


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
async def on(source: Source) -> AsyncIterator[Stage]:
    async with stage(servicer(source)) as running:
        yield running


@pytest.fixture
def clock() -> list[datetime]:
    return [now()]


@pytest.fixture
def checker(on: Stage, clock: list[datetime]) -> Checker:
    return Checker(on.peer, lambda: clock[0])


def ids(*numbers: int) -> list[tuple[UUID | None, UUID]]:
    """Items that belong to no tenant."""
    return [(None, UUID(int=number)) for number in numbers]


async def test_each_item_is_answered_in_order_with_its_facts(checker: Checker, source: Source) -> None:
    items = [(STATION, UUID(int=3)), *ids(10, 2)]
    answers = await checker.check(STATIONS, items)
    assert [(answer.epoch, answer.state, answer.version) for answer in answers] == [
        (EPOCH, OPEN, 3),
        (EPOCH, NOT_FOUND, 0),
        (EPOCH, OPEN, 2),
    ]
    facts = bookings_pb2.GetBookingRequest()
    assert answers[0].facts is not None
    assert answers[0].facts.Unpack(facts)
    assert facts.station_id == str(UUID(int=3))
    assert answers[1].facts is None
    assert source.asked == [(STATIONS, items)]


async def test_nothing_asked_is_nothing_answered(checker: Checker, source: Source) -> None:
    assert await checker.check(STATIONS, []) == []
    assert not source.asked


async def test_what_many_ask_at_once_is_asked_once_and_each_thing_once(checker: Checker, source: Source) -> None:
    answers = await asyncio.gather(*(checker.check(STATIONS, ids(n, n + 1)) for n in range(1, 9)))
    assert [[answer.version for answer in pair] for pair in answers] == [[n, n + 1] for n in range(1, 9)]
    assert [len(items) for _, items in source.asked] == [9]


async def test_who_asks_a_moment_later_is_asked_for_together_with_the_first(
    checker: Checker, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpccommon.references.checking.GATHER_SECONDS", 0.1)
    first = asyncio.create_task(checker.check(STATIONS, ids(1)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert [answer.version for answer in await checker.check(STATIONS, ids(2))] == [2]
    await first
    assert source.asked == [(STATIONS, ids(1, 2))]


async def test_the_same_thing_twice_in_one_question_is_asked_once(checker: Checker, source: Source) -> None:
    assert [answer.version for answer in await checker.check(STATIONS, ids(5, 5))] == [5, 5]
    assert source.asked == [(STATIONS, ids(5))]


async def test_the_same_id_of_another_tenant_or_type_is_another_question(checker: Checker, source: Source) -> None:
    await asyncio.gather(checker.check(STATIONS, [*ids(1), (STATION, UUID(int=1))]), checker.check("identity.User", ids(1)))
    assert sorted((kind, len(items)) for kind, items in source.asked) == [(STATIONS, 2), ("identity.User", 1)]


async def test_a_question_that_is_under_way_is_joined_and_a_later_one_is_asked_anew(checker: Checker, source: Source) -> None:
    source.gate.clear()
    first = asyncio.create_task(checker.check(STATIONS, ids(1)))
    await source.entered.wait()
    second = asyncio.create_task(checker.check(STATIONS, ids(1)))
    await asyncio.sleep(0)
    source.gate.set()
    assert await first == await second
    assert len(source.asked) == 1
    await checker.check(STATIONS, ids(1))
    assert len(source.asked) == 2, "only known rows remember"


async def test_more_than_a_thousand_are_asked_in_parts(checker: Checker, source: Source) -> None:
    answers = await checker.check(STATIONS, ids(*range(1, 2502)))
    assert [answer.version for answer in answers if answer.state == OPEN] == [n for n in range(1, 2502) if n % 10]
    assert sorted(len(items) for _, items in source.asked) == [501, 1000, 1000]


async def test_who_is_cancelled_cancels_nobody_else(checker: Checker, source: Source) -> None:
    source.gate.clear()
    first = asyncio.create_task(checker.check(STATIONS, ids(1)))
    second = asyncio.create_task(checker.check(STATIONS, ids(1, 2)))
    await source.entered.wait()
    first.cancel()
    await asyncio.wait({first})
    source.gate.set()
    assert first.cancelled()
    assert [answer.version for answer in await second] == [1, 2]


async def test_the_deadline_of_the_first_is_not_that_of_the_others(checker: Checker, source: Source) -> None:
    async def hurried() -> Sequence[Answer]:
        present.present.set(present.Call(method="/a/b", call_id="c1", deadline=0.0))  # a call whose time is over
        return await checker.check(STATIONS, ids(1))

    async def patient() -> Sequence[Answer]:
        return await checker.check(STATIONS, ids(1, 2))

    answers = await asyncio.gather(hurried(), patient())
    assert [len(answer) for answer in answers] == [1, 2]


async def test_an_error_reaches_all_who_wait_and_is_not_remembered(checker: Checker, source: Source) -> None:
    source.fault = FeedStale("no epoch yet", feed="identity")
    answers: list[Any] = await asyncio.gather(*(checker.check(STATIONS, ids(n, 10)) for n in (1, 2, 3)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {PeerUnavailable}
    source.fault = None
    assert [answer.state for answer in await checker.check(STATIONS, ids(1, 10))] == [OPEN, NOT_FOUND]


async def test_an_error_that_nobody_waits_for_any_more_troubles_nobody(
    checker: Checker, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    source.gate.clear()
    source.fault = FeedStale("no epoch yet", feed="identity")
    only = asyncio.create_task(checker.check(STATIONS, ids(1)))
    await source.entered.wait()
    only.cancel()
    await asyncio.wait({only})
    source.gate.set()
    source.fault = None
    async with asyncio.timeout(5):
        while checker.waiting:
            await asyncio.sleep(0.01)
    assert [answer.version for answer in await checker.check(STATIONS, ids(1))] == [1]
    assert "never retrieved" not in caplog.text


async def test_what_is_not_there_is_remembered_for_a_second_at_most(
    checker: Checker, source: Source, clock: list[datetime]
) -> None:
    for seconds, asked in ((0.0, 1), (0.9, 1), (0.2, 2)):
        clock[0] += timedelta(seconds=seconds)
        assert [answer.state for answer in await checker.check(STATIONS, ids(10))] == [NOT_FOUND]
        assert len(source.asked) == asked


async def test_what_is_not_there_is_remembered_of_few(checker: Checker, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpccommon.references.checking.REFUSED_CACHED", 2)
    await checker.check(STATIONS, ids(10, 20, 30))
    await checker.check(STATIONS, ids(20, 30))
    assert len(source.asked) == 1
    await checker.check(STATIONS, ids(10))
    assert len(source.asked) == 2


async def test_nothing_is_asked_while_a_connection_is_held(on: Stage, checker: Checker, source: Source) -> None:
    on.held.append("a connection")
    with pytest.raises(AssertionError):
        await checker.check(STATIONS, ids(1))
    assert not source.asked
