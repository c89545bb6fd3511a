"""Calls are ended when they are due, and not before; with nothing under way, nothing looks."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from faults import Fault, ReaderTooSlow
from rpccommon.present import LOOKS_APART_MAX, Call, Deadlines

LATE = ReaderTooSlow("too late")
PATIENCE_SECONDS = 10.0


@pytest.fixture
async def calls() -> AsyncIterator[list[asyncio.Task[Call]]]:
    """Calls that a test has begun; each is a task that ends when its call is due."""
    made: list[asyncio.Task[Call]] = []
    yield made
    for each in made:
        each.cancel()
    await asyncio.gather(*made, return_exceptions=True)


async def under_way(deadlines: Deadlines, call: Call) -> Call:
    """A call that goes on until it is ended."""
    call.task = asyncio.current_task()
    deadlines.begin(call)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if call.overdue is None:
            raise
    finally:
        deadlines.end(call)
    return call


def due_in(seconds: float | None, late: Fault = LATE) -> Call:
    call = Call("/a/method", "an ID")
    call.end_at(None if seconds is None else time.monotonic() + seconds, late)
    return call


async def test_a_call_that_is_due_is_ended_and_the_others_go_on(calls: list[asyncio.Task[Call]]) -> None:
    deadlines = Deadlines()
    calls += [asyncio.create_task(under_way(deadlines, due_in(seconds))) for seconds in (60, None, 0.05, -1)]
    done, _ = await asyncio.wait(calls[2:], timeout=PATIENCE_SECONDS)
    assert {each.result().overdue for each in done} == {LATE}
    assert len(done) == 2
    assert not any(each.done() for each in calls[:2])


async def test_one_that_is_due_sooner_than_the_next_look_is_not_kept_until_then(calls: list[asyncio.Task[Call]]) -> None:
    deadlines = Deadlines()
    calls.append(asyncio.create_task(under_way(deadlines, due_in(60))))
    await asyncio.sleep(0)
    assert deadlines._next_at > time.monotonic() + LOOKS_APART_MAX / 2
    calls.append(asyncio.create_task(under_way(deadlines, due_in(LOOKS_APART_MAX / 4))))
    await asyncio.sleep(0)
    assert deadlines._next_at < time.monotonic() + LOOKS_APART_MAX / 2
    assert (await asyncio.wait_for(calls[1], PATIENCE_SECONDS)).overdue is LATE


async def test_what_is_set_anew_counts(calls: list[asyncio.Task[Call]]) -> None:
    deadlines, later, sooner = Deadlines(), due_in(0.05), due_in(60)
    calls += [asyncio.create_task(under_way(deadlines, call)) for call in (later, sooner)]
    await asyncio.sleep(0)
    other = ReaderTooSlow("another reason")
    later.end_at(time.monotonic() + 60, LATE)
    sooner.end_at(time.monotonic() + 0.05, other)
    assert (await asyncio.wait_for(calls[1], PATIENCE_SECONDS)).overdue is other
    assert not calls[0].done()


async def test_a_call_is_ended_once(calls: list[asyncio.Task[Call]]) -> None:
    """What it still does then, to end well, is not cancelled again."""
    deadlines, call = Deadlines(), due_in(0.01)

    async def ends_slowly() -> str:
        call.task = asyncio.current_task()
        deadlines.begin(call)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            for _ in range(2):  # two more looks, of which none may find it again
                looked = deadlines._next_at
                while deadlines._next_at == looked:
                    await asyncio.sleep(0.01)
            return "ended well"
        return ""

    calls.append(asyncio.create_task(under_way(deadlines, due_in(60))))
    assert await asyncio.wait_for(asyncio.create_task(ends_slowly()), PATIENCE_SECONDS) == "ended well"


async def test_with_no_calls_nothing_looks(calls: list[asyncio.Task[Call]]) -> None:
    deadlines = Deadlines()
    task = asyncio.create_task(under_way(deadlines, due_in(0.01)))
    await task
    async with asyncio.timeout(PATIENCE_SECONDS):
        while deadlines._next is not None:
            await asyncio.sleep(0.01)
    calls.append(asyncio.create_task(under_way(deadlines, due_in(0.01))))  # and begins again
    assert (await asyncio.wait_for(calls[0], PATIENCE_SECONDS)).overdue is LATE
