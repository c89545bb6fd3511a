"""Everything at once, for a while: who writes, who closes, and what breaks the processes; then quiet, and what must hold."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import asyncpg
from demo.calls import Backend

from local import stack
from local.stack import Stack
from tests.faults import checks, owners, writers
from tests.faults.breaking import Breaking, Rhythm
from tests.faults.world import World

BROKEN = ("identity", "bookings")
LASTING = 4
LEAVING = 6
PAUSE_SECONDS_MAX = 0.3
POLL_SECONDS = 0.1
QUIET_SECONDS = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How long, how hard, and what must have happened for the run to prove something."""

    seconds: float
    seconds_max: float
    """By then it has happened, or the run fails."""
    stalled_max: float
    rhythm: Rhythm
    contested: int
    """Stations that were purged while writes to them were under way."""
    held_back: int
    """Purges that were refused as STILL_REFERENCED."""
    closed: int
    """Writes that were refused as closed."""
    breaks: int


@dataclass(kw_only=True)
class Chaos:
    """One run."""

    stack: Stack
    rows: asyncpg.Connection
    world: World
    breaking: Sequence[Breaking]
    extent: Extent

    @property
    def enough(self) -> bool:
        """Whether enough has happened."""
        world, extent = self.world, self.extent
        return (
            len(world.contested) >= extent.contested
            and world.refused("STILL_REFERENCED") >= extent.held_back
            and world.refused("REFERENCE_CLOSED") >= extent.closed
            and bool(world.purged.get("identity.User"))
            and all(each.done.total() >= extent.breaks for each in self.breaking)
        )

    async def run(self) -> None:
        """Until its time is up and enough has happened."""
        ending = asyncio.Event()
        stalled = await self._stalled()
        actors = [*writers.writers(self.world), stalled.write]
        actors += [lambda: owners.come_and_go(self.world, stalled)] * LEAVING + [lambda: owners.to_and_fro(self.world)]
        actors += [lambda: owners.log_in_and_leave(self.world)] + [each.strike for each in self.breaking]
        async with asyncio.TaskGroup() as tasks:
            for actor in actors:
                tasks.create_task(self._repeat(actor, ending))
            tasks.create_task(self._end(ending))

    async def wrong(self) -> Mapping[str, object]:
        """Everything that is wrong once everything runs and nothing is under way; what still is after a while is wrong too."""
        await stack.serving(self.stack)
        clock = asyncio.get_running_loop().time
        until = clock() + QUIET_SECONDS
        while (under_way := await checks.unsettled(self.rows)) and clock() < until:
            await asyncio.sleep(POLL_SECONDS)
        found = {
            "dangling": await checks.dangling(self.rows),
            "lost": await checks.lost(self.rows, self.world.kept),
            "disagreeing": await checks.disagreeing(self.rows),
            "not purged": await checks.not_purged(self.rows, self.world.purged),
            "under way": under_way,
        }
        return {what: these for what, these in found.items() if these}

    async def begin(self) -> None:
        """Makes the stations that it begins with, and a customer to copy."""
        for _ in range(LASTING):
            self.world.lasting.append(await self.world.new_station())
        await writers.customer(self.world)

    async def _stalled(self) -> writers.Stalled:
        [copied, *_] = self.world.kept["bookings.customers"]
        url = self.stack.server.url(self.stack.database, "bookings_app")
        like = await writers.example(self.rows, str(copied))
        return writers.Stalled(self.world, url, like, self.extent.stalled_max)

    async def _end(self, ending: asyncio.Event) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        while clock() < began + self.extent.seconds or not self.enough:
            if self.world.unexpected or clock() > began + self.extent.seconds_max:
                break
            await asyncio.sleep(POLL_SECONDS)
        ending.set()

    async def _repeat(self, actor: Callable[[], Awaitable[None]], ending: asyncio.Event) -> None:
        while not ending.is_set():
            await actor()
            await asyncio.sleep(self.world.chance.uniform(0, PAUSE_SECONDS_MAX))


def chaos(stack: Stack, rows: asyncpg.Connection, backend: Backend, token: str, extent: Extent, seed: int) -> Chaos:
    """A run by a seed. What chance decides is repeated by it; when it happens is not."""
    breaking = [
        Breaking(stack=stack, service=service, chance=random.Random(f"{service} {seed}"), rhythm=extent.rhythm)
        for service in BROKEN
    ]
    world = World(chance=random.Random(seed), backend=backend, token=token)
    return Chaos(stack=stack, rows=rows, world=world, breaking=breaking, extent=extent)
