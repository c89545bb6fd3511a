"""What calls cost: `make bench-rpc` prints a table, and writes build/bench/rpc.json."""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg

from local.database import ROOT
from tests.bench.arena import DATABASE, Ground, Turn, run
from tests.bench.limits import Target
from tests.bench.peers import answers, calls, load, servers
from tests.bench.peers.cpu import Account
from tests.bench.peers.load import Check
from tests.bench.peers.seed import BIG, STARTS

FILE = ROOT / "build" / "bench" / "rpc.json"
CALLERS = 16
EMPTY, GET, PAGE, CREATE = (
    f"{work}, {CALLERS} callers" for work in ("an empty call", "GetBooking", "a page of 50", "CreateBooking")
)
BARE, INTERCEPTED, TEPPAN, GO, CHECKED, FASTAPI = (
    "bare grpc.aio",
    "Teppan, all interceptors",
    "Teppan",
    "Go",
    "Go, checked",
    "FastAPI",
)
TARGETS = (
    Target(what="an empty call: CPU, of bare grpc.aio's", figure="us a call", of=(EMPTY, INTERCEPTED), to=(EMPTY, BARE), limit=1.25),
    Target(what="GetBooking: CPU, of Go's", figure="us a call", of=(GET, TEPPAN), to=(GET, GO), limit=3.5),
    Target(what="GetBooking: rate, of FastAPI's", figure="calls", of=(GET, TEPPAN), to=(GET, FASTAPI), limit=4, at_least=True),
    Target(what="a page of 50: rate, of Go's", figure="calls", of=(PAGE, TEPPAN), to=(PAGE, GO), limit=0.6, at_least=True),
    Target(what="a page of 50: rate, of FastAPI's", figure="calls", of=(PAGE, TEPPAN), to=(PAGE, FASTAPI), limit=4, at_least=True),
    Target(what="CreateBooking: the service's CPU", figure="us a call", of=(CREATE, TEPPAN), unit="us", limit=1_000),
    Target(what="CreateBooking: rate, of Go's with the same checks", figure="calls", of=(CREATE, TEPPAN), to=(CREATE, CHECKED), limit=0.5,
           at_least=True),
)  # fmt: skip


def reads(ground: Ground, name: str, running: servers.Running | None, *, http: bool = False, seconds: float) -> list[Turn]:
    """One booking, and pages of 50, by 16 callers."""
    if running is None:
        return []
    first, page = ground.right.rows[0]["id"], ground.right.first(50)
    make_get = calls.http_get if http else calls.get_booking
    get = make_get(running.address, BIG, first, **({} if http else {"authorization": ground.bearer}))
    check: Check = page.http if http else page.grpc
    if http:
        listed = calls.http_list(running.address, BIG, page_size=50, rows=50)
    else:
        listed = calls.list_bookings(running.address, BIG, page_size=50, page_limit=1, rows=50, authorization=ground.bearer)
    one = ground.right.booking(ground.right.rows[0])
    accounts = ground.accounts(running.pid)
    return [
        Turn(work=GET, server=name, measure=lambda: load.measure(
            get, one.http if http else one.grpc, clients=CALLERS, seconds=seconds, accounts=accounts)),
        Turn(work=PAGE, server=name, measure=lambda: load.measure(
            listed, check, clients=CALLERS, seconds=seconds, accounts=accounts, tolerance=0.01)),
    ]  # fmt: skip


async def create_bodies(ground: Ground) -> tuple[list[bytes], int]:
    """Returns bodies of creates of the big station, and where in each its `request_id` stands."""
    connection = await asyncpg.connect(ground.server.url(DATABASE))
    customers = [
        row["id"] for row in await connection.fetch("SELECT id FROM bookings.customers WHERE station_id = $1 LIMIT 500", BIG)
    ]
    await connection.close()
    days = [(datetime.now(UTC) + timedelta(days=ahead)).date() for ahead in range(5, 200)]
    return calls.create_bodies(BIG, customers, days, STARTS)


async def creates(ground: Ground, name: str, running: servers.Running | None, *, seconds: float) -> list[Turn]:
    """Creates by 16 callers."""
    if running is None:
        return []
    bodies, offset = await create_bodies(ground)
    call = calls.create_booking(running.address, authorization=ground.bearer)
    accounts = ground.accounts(running.pid)
    return [Turn(work=CREATE, server=name, measure=lambda: load.measure_writes(
        call, bodies, offset, answers.created, clients=CALLERS, seconds=seconds, programs=ground.programs, accounts=accounts))]  # fmt: skip


async def turns(ground: Ground, seconds: float) -> list[Turn]:
    """Everything that is measured, the peer that ratios refer to first."""
    bare = await ground.stack.enter_async_context(servers.bare())
    empty = await ground.teppan("empty")
    get = calls.get_booking(empty.address, BIG, BIG, authorization=ground.bearer)
    floor = calls.bare_call(bare.address)

    def anything(messages: Sequence[bytes]) -> None:
        if len(messages) != 1:
            raise answers.Wrong("an empty call has one answer")

    made = [
        Turn(work=EMPTY, server=name, measure=lambda call=call, pid=pid: load.measure(  # type: ignore[misc]  # bound here
            call, anything, clients=CALLERS, seconds=seconds, accounts=[Account(name="server", pid=pid)]))
        for name, call, pid in ((BARE, floor, bare.pid), (INTERCEPTED, get, empty.pid))
    ]  # fmt: skip
    go, checked, teppan, fastapi = (
        await ground.go(checked=False), await ground.go(checked=True), await ground.teppan("bookings"), await ground.fastapi(),
    )  # fmt: skip
    made += [
        *reads(ground, GO, go, seconds=seconds), *reads(ground, CHECKED, checked, seconds=seconds),
        *reads(ground, TEPPAN, teppan, seconds=seconds), *reads(ground, FASTAPI, fastapi, http=True, seconds=seconds),
        *await creates(ground, CHECKED, checked, seconds=seconds), *await creates(ground, TEPPAN, teppan, seconds=seconds),
    ]  # fmt: skip
    return made


if __name__ == "__main__":
    asyncio.run(run(FILE, "calls", turns, rounds=int(os.environ.get("BENCH_ROUNDS", "5")), seconds=2.0, targets=TARGETS))
