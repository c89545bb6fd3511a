"""Whoever is killed, at whatever await of whatever step: the step is taken again, and every saga ends as if nothing had happened."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from bookings.domain.bookings import State
from local.database import Server
from tests.conftest import new_database
from tests.integration.aside import Killed
from tests.integration.sagas import ROUND, Process, World, world_on

pytestmark = pytest.mark.filterwarnings("ignore:unclosed connection:ResourceWarning")  # who is killed closes nothing


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What the killed left behind is found here, and not in another test."""
    yield
    gc.collect()


SCENARIOS = {
    "confirmed": ("create", *ROUND, "pay", *ROUND),
    "expired": ("create", "late", "sweep", *ROUND),
    "expired, paid in part": ("create", *ROUND, "pay_little", *ROUND, "late", "sweep", *ROUND),
    "confirmed at last": ("create", "pay", "late", "sweep", *ROUND),
    "cancelled": ("create", "pay", *ROUND, "cancel", *ROUND),
    "cancelled, not heard": ("create", "pay", "cancel", *ROUND),
    "cancelled, unknown": ("create", "cancel", *ROUND),
}
ENDS = {
    "confirmed": State.CONFIRMED, "expired": State.EXPIRED, "expired, paid in part": State.EXPIRED,
    "confirmed at last": State.CONFIRMED, "cancelled": State.CANCELLED, "cancelled, not heard": State.CANCELLED,
    "cancelled, unknown": State.CANCELLED,
}  # fmt: skip
STEPS = [(name, at) for name, steps in SCENARIOS.items() for at, step in enumerate(steps) if step != "late"]
AWAITS_MAX = 1_000
SLICE, SLICE_AWAITS = 40, 40
"""So many kills in the normal run, each at one of so many awaits of a step."""


@pytest.fixture(scope="module")
async def world(server: Server, template: str) -> AsyncIterator[World]:
    """Bookings and payments, step by step."""
    name = new_database()
    await server.create(name, template)
    async with world_on(server, name) as made:
        yield made
    await server.drop(name)


async def ended(world: World, name: str, *, at: int = -1, awaits: int = 0) -> tuple[bool, tuple[Any, ...]]:
    """Runs a saga, in which the process of one step is killed at one of its awaits; whether it came so far, and the end."""
    await world.begin()
    killed = False
    for number, step in enumerate(SCENARIOS[name]):
        if number == at:
            killed = await dies(world, step, awaits)
        if number != at or killed:  # who takes over, or sends it again, takes the step from its beginning
            await world.take(step)
    await world.take(*ROUND, *ROUND)
    return killed, await world.end()


async def dies(world: World, step: str, awaits: int) -> bool:
    """Takes a step in a process that is killed at that await; whether it came so far."""
    process = Process(world.server, world.database, world.service(step), world.clock)
    await process.warm()
    killed = await Killed(world.work(step)(process), awaits, process.kill)  # type: ignore[arg-type]  # each step is a coroutine
    await process.end()
    gone = "SELECT count(*) <= $1 FROM pg_stat_activity WHERE usename LIKE $2 AND datname = current_database() AND state <> 'idle'"
    while not await world.outside.fetchval(gone, 0, f"{process.service}_%"):  # what was on its way is done, or is not
        await asyncio.sleep(0.001)
    return killed


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_saga_of_which_nobody_dies_ends_as_its_name_says(world: World, name: str) -> None:
    _, end = await ended(world, name)
    assert end[0] == ENDS[name]
    assert end[1] == end[5], "bookings and payments agree on what was paid"
    assert (end[7] > 0) is (end[5] > 0 and ENDS[name] is not State.CONFIRMED)


async def test_some_kills_change_no_end(world: World, tell: Callable[[str], None]) -> None:
    seed = random.randrange(10**6)
    chance, ends, kills = random.Random(seed), {}, 0
    for _ in range(SLICE):
        name, at = chance.choice(STEPS)
        awaits = chance.randrange(1, SLICE_AWAITS)
        if name not in ends:
            ends[name] = (await ended(world, name))[1]
        killed, end = await ended(world, name, at=at, awaits=awaits)
        kills += killed
        assert end == ends[name], f"seed {seed}: {name}, step {at} ({SCENARIOS[name][at]}), killed at await {awaits}"
    tell(f"sagas: {SLICE} runs, {kills} kills, seed {seed}")
    assert kills > SLICE // 4


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_no_kill_changes_the_end(world: World, name: str, tell: Callable[[str], None]) -> None:
    _, expected = await ended(world, name)
    kills = 0
    for at, step in enumerate(SCENARIOS[name]):
        for awaits in range(1, AWAITS_MAX) if step != "late" else ():
            killed, end = await ended(world, name, at=at, awaits=awaits)
            assert end == expected, f"step {at} ({step}), killed at await {awaits}"
            if not killed:
                break
            kills += 1
    tell(f"sagas: {name}, {kills} kills")
    assert kills > 10 * len(SCENARIOS[name])
