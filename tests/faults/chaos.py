"""Everything at once, for a while: who writes, who closes, and what breaks the processes; then quiet, and what must hold."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from demo.calls import Backend
from teppan.bookings.v1 import bookings_pb2_grpc

from local import stack
from local.database import SERVICES
from local.stack import Stack
from tests.faults import checks, once, owners, writers
from tests.faults.breaking import Breaking, Breaks, Rhythm
from tests.faults.crashes import Crashing
from tests.faults.world import MINE, World
from tests.traffic import Way, bare_channel

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
    crashes_apart_max: float
    """Seconds from one break of Postgres to the next."""
    contested: int
    """Stations that were purged while writes to them were under way."""
    held_back: int
    """Purges that were refused as STILL_REFERENCED."""
    closed: int
    """Writes that were refused as closed."""
    full: int
    """Bookings that were refused because their slot was full."""
    breaks: int
    """Of each service, and of Postgres."""


@dataclass(kw_only=True)
class Chaos:
    """One run."""

    stack: Stack
    world: World
    breaking: Sequence[Breaks]
    extent: Extent

    @property
    def enough(self) -> bool:
        """Whether enough has happened."""
        world, extent = self.world, self.extent
        return (
            len(world.contested) >= extent.contested
            and world.refused("STILL_REFERENCED") >= extent.held_back
            and world.refused("REFERENCE_CLOSED") >= extent.closed
            and world.refused("SLOT_FULL") >= extent.full
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
        unanswered = await self._ask_again()
        async with self._rows() as rows:
            found = {"unanswered": unanswered, "under way": await _quiet(rows), **await self._found(rows)}
        return {what: these for what, these in found.items() if these}

    async def _found(self, rows: asyncpg.Connection) -> Mapping[str, object]:
        world = self.world
        return {
            "dangling": await checks.dangling(rows),
            "lost": await checks.lost(rows, world.kept),
            "disagreeing": await checks.disagreeing(rows),
            "not purged": await checks.not_purged(rows, world.purged),
            "not once": await once.miscounted(rows, world.asked),
            "not cancelled": await once.not_cancelled(rows, world.asked),
            "overfull": await once.overfull(rows, MINE),
            "money": await once.disagreeing_money(rows, MINE),
            "unexpected": world.unexpected,
        }

    async def _ask_again(self) -> Sequence[str]:
        """Repeats what had no answer so far: now that everything runs, each has one."""
        for asked in self.world.asked:
            if asked.open:
                await self.world.send(asked)
        return [f"{asked.method} {asked.mark}" for asked in self.world.asked if asked.open]

    async def begin(self) -> None:
        """Makes the stations that it begins with, and a customer to copy."""
        for _ in range(LASTING):
            self.world.lasting.append(await self.world.new_station())
        await writers.customer(self.world)

    async def _stalled(self) -> writers.Stalled:
        [copied, *_] = self.world.kept["bookings.customers"]
        url = self.stack.server.url(self.stack.database, "bookings_app")
        async with self._rows() as rows:
            like = await writers.example(rows, str(copied))
        return writers.Stalled(self.world, url, like, self.extent.stalled_max)

    @asynccontextmanager
    async def _rows(self) -> AsyncIterator[asyncpg.Connection]:
        """Sees everything, in every schema; for while Postgres is left alone."""
        connection = await asyncpg.connect(self.stack.server.url(self.stack.database))
        yield connection
        await connection.close()

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


async def _quiet(rows: asyncpg.Connection) -> Sequence[str]:
    """Waits until nothing is under way, and returns what still is after a while."""
    clock = asyncio.get_running_loop().time
    until = clock() + QUIET_SECONDS
    while (under_way := await checks.unsettled(rows)) and clock() < until:
        await asyncio.sleep(POLL_SECONDS)
    return under_way


@asynccontextmanager
async def chaos(stack: Stack, backend: Backend, token: str, extent: Extent, seed: int) -> AsyncIterator[Chaos]:
    """A run by a seed. What chance decides is repeated by it; when it happens is not."""
    breaking: list[Breaks] = [
        Breaking(stack=stack, service=service, chance=random.Random(f"{service} {seed}"), rhythm=extent.rhythm)
        for service in SERVICES
    ]
    breaking.append(Crashing(stack=stack, chance=random.Random(f"postgres {seed}"), apart_max=extent.crashes_apart_max))
    async with bare_channel(Way(addresses=[stack.address("bookings")], tls=None)) as channel:
        bare = bookings_pb2_grpc.BookingsServiceStub(channel)
        world = World(chance=random.Random(seed), backend=backend, bare=bare, token=token)
        yield Chaos(stack=stack, world=world, breaking=breaking, extent=extent)
