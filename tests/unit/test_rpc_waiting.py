"""Who waits for a place: how many of whom, for how long, and that none is lost when they give up."""

import asyncio
from collections import Counter

import pytest

from faults import Overloaded
from rpccommon.places import WAITING_MAX, Places


async def begun(entering: "asyncio.Task[None]") -> bool:
    """Whether it has its place, once nothing more happens."""
    for _ in range(5):
        await asyncio.sleep(0)
    return entering.done()


async def test_any_number_of_tenants_that_gave_up_in_one_moment_are_passed_over() -> None:
    places = Places("calls", 1)
    await places.enter("a", None)
    crowd = [asyncio.create_task(places.enter(str(n), 1_000)) for n in range(WAITING_MAX - 1)]
    last = asyncio.create_task(places.enter("last", 1_000))
    assert not await begun(last)
    for each in crowd:
        each.cancel()
    places.leave("a", None)  # before any of them has noticed
    await asyncio.wait_for(last, 5)
    await asyncio.wait(crowd)


async def test_crowds_of_many_tenants_are_bounded_together() -> None:
    places = Places("calls", 1)
    await places.enter("a", None)
    crowd = [asyncio.create_task(places.enter(n // WAITING_MAX, 1_000)) for n in range(20 * WAITING_MAX)]
    await begun(crowd[-1])
    assert sum(not each.done() for each in crowd) == 2 * WAITING_MAX
    for each in crowd:
        each.cancel()
    await asyncio.wait(crowd)


async def test_one_tenants_crowd_leaves_room_in_the_queue_to_others() -> None:
    places = Places("calls", 1)
    await places.enter("a", None)
    crowd = [asyncio.create_task(places.enter("a", 1_000)) for _ in range(WAITING_MAX)]
    assert not await begun(crowd[0])
    assert sum(each.done() for each in crowd) == WAITING_MAX // 2  # they were refused
    for tenant in ("b", "c"):
        crowd.append(asyncio.create_task(places.enter(tenant, 1_000)))
        assert not await begun(crowd[-1])
    for each in crowd:
        each.cancel()
    told = await asyncio.gather(*crowd, return_exceptions=True)
    assert Counter(type(each) for each in told) == {Overloaded: WAITING_MAX // 2, asyncio.CancelledError: WAITING_MAX // 2 + 2}


async def test_who_waits_in_vain_is_refused_though_nobody_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpccommon.places.PATIENCE_SECONDS", 0.05)
    places = Places("calls", 1)
    await places.enter("a", None)
    for left in (None, 0.1):
        with pytest.raises(Overloaded):
            await asyncio.wait_for(places.enter("b", left), 5)
    places.leave("a", None)
    assert places.take("b")


async def test_who_gave_up_waits_no_longer() -> None:
    places = Places("calls", 1)
    await places.enter("a", None)
    for _ in range(3):
        crowd = [asyncio.create_task(places.enter(str(n), None)) for n in range(WAITING_MAX)]
        assert not await begun(crowd[-1])
        for each in crowd:
            each.cancel()
        await asyncio.wait(crowd)
    places.leave("a", None)
    await asyncio.wait_for(places.enter("c", None), 5)
