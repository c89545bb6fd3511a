"""Who calls in the bench of overload: crowds of one method, a quiet station beside a noisy one, readers that do not read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from tests.bench.arena import DATABASE, Ground
from tests.bench.limits import Judged
from tests.bench.memory import reading, watched
from tests.bench.peers import calls, cpu, load
from tests.bench.peers.answers import Answers
from tests.bench.peers.golang import Programs
from tests.bench.peers.offered import DEADLINE_SECONDS, Crowd, Offered, offer
from tests.bench.peers.scripted import run_written
from tests.bench.peers.seed import BIG
from tests.bench.peers.servers import Running
from tests.bench.rpc import create_bodies

MIXES = ("GetBooking", "CreateBooking")
QUIET = UUID(int=2)
QUIET_CALLERS = 4
STOPPED, SLOW, READ_EVERY_SECONDS = 20, 16, 0.5
READER_MIB = 2.0
GETS_PER_SECOND = 20
LONGER_SECONDS = 2.0
"""What the noisy station goes on for, beyond the quiet one."""


class Unknown(Exception):
    """There is no such mix; the sentence names those that there are."""


async def crowd_of(ground: Ground, running: Running, name: str) -> Crowd:
    """Returns a crowd that calls one method of the big station. Raises Unknown."""
    if name == "GetBooking":
        return gets(running, ground.right, ground.bearer)
    if name == "CreateBooking":
        bodies, offset = await create_bodies(ground)
        return Crowd(call=calls.create_booking(running.address, authorization=ground.bearer), bodies=bodies, offset=offset)
    raise Unknown(f"BENCH_MIXES: there is no {name!r}, only {' and '.join(MIXES)}")


def gets(running: Running, right: Answers, bearer: str) -> Crowd:
    """Returns a crowd that reads one booking of a station after the other."""
    made = [calls.get_booking(running.address, right.station, row["id"], authorization=bearer) for row in right.rows]
    return Crowd(call=made[0], bodies=[call.body for call in made])


async def noisy(ground: Ground, programs: Programs, running: Running, per_second: float, seconds: float) -> tuple[float, float]:
    """Returns the rates of a quiet station's closed loop: alone, and beside one that offers so much."""
    quiet = await _quiet(ground, running)

    async def rate() -> float:
        seen = await run_written(
            quiet.call,
            quiet.bodies,
            -1,
            clients=QUIET_CALLERS,
            seconds=seconds,
            programs=programs,
            deadline_seconds=DEADLINE_SECONDS,
        )
        return seen.per_second

    alone = await rate()
    async with _noise(ground, programs, running, per_second, seconds):
        return alone, await rate()


async def quiet_paced(
    ground: Ground, programs: Programs, running: Running, per_second: float, quiet_per_second: float, seconds: float
) -> Offered:  # fmt: skip
    """Returns what came of a quiet station's calls by the clock, beside a noisy one."""
    quiet = await _quiet(ground, running)
    async with _noise(ground, programs, running, per_second, seconds):
        return await offer(programs, quiet, per_second=quiet_per_second, seconds=seconds)


async def _quiet(ground: Ground, running: Running) -> Crowd:
    right = await Answers.read(ground.server.url(DATABASE), QUIET, first=200)
    return gets(running, right, ground.signer.bearer([QUIET]))


@asynccontextmanager
async def _noise(ground: Ground, programs: Programs, running: Running, per_second: float, seconds: float) -> AsyncIterator[None]:
    """Lets the big station offer so much meanwhile, from when the service feels it on."""
    account = cpu.Account(name="server", pid=running.pid)
    begun = account.seconds()
    crowd = gets(running, ground.right, ground.bearer)
    task = asyncio.create_task(offer(programs, crowd, per_second=per_second, seconds=seconds + LONGER_SECONDS))
    try:
        await cpu.busy(account, begun)
        yield
    finally:
        await task


async def unread(ground: Ground, seconds: float) -> list[Judged]:
    """Measures memory and GetBooking while readers stop, and while readers take a page now and then; each in a service of its own."""
    return [
        *await _unread(ground, 0, "", None, seconds),
        *await _unread(ground, STOPPED, "stopped", None, seconds),
        *await _unread(ground, SLOW, "slow", READ_EVERY_SECONDS, seconds),
    ]


async def _unread(ground: Ground, readers: int, what: str, every: float | None, seconds: float) -> list[Judged]:
    who = f"{readers} {what} readers" if readers else "no reader"
    users = [ground.signer.bearer([BIG], user=UUID(int=number)) for number in range(1, max(1, readers) + 1)]
    rows, first = ground.right.count, ground.right.rows[0]
    async with ground.service("bookings") as running:
        address = running.address
        listed = [calls.list_bookings(address, BIG, page_size=1_000, rows=rows, authorization=user) for user in users]
        get = calls.get_booking(address, BIG, first["id"], authorization=ground.bearer)
        await load.measure_stream(listed[0], ground.right.whole().grpc)  # what is made once, is there
        async with watched(running.pid) as memory, reading(listed[:readers], every=every):
            beside = await load.measure_paced(get, ground.right.booking(first).grpc, per_second=GETS_PER_SECOND, seconds=seconds)
    judged = [Judged(what=f"GetBooking beside {who}: p50", value=beside.p50_ms, unit="ms")]
    if readers:
        added = (memory.highest - memory.before) / readers
        judged.append(Judged(what=f"{who}: memory added by each", value=added, unit="MiB", limit=READER_MIB))
    return judged
