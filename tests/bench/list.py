"""What lists cost, beside COPY, Go and FastAPI: `make bench-list` prints tables, and writes build/bench/list.json."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Column, Table

from local.database import ROOT
from tests.bench import limits
from tests.bench.arena import Ground, Turn, about, in_turns, laid, terminal, write
from tests.bench.limits import Found, Judged, Target, judge, ratio, said
from tests.bench.listing import FIRST_PAGES, Peer, beside, copied, deep, first_page, streamed
from tests.bench.memory import reading, watched
from tests.bench.peers import calls, load
from tests.bench.peers.raw import Measured
from tests.bench.peers.seed import BIG
from tests.bench.rpc import CHECKED, FASTAPI, GO, PAGE, TEPPAN, reads

FILE = ROOT / "build" / "bench" / "list.json"
IN_PYTHON, COPY = "Teppan, in Python", "COPY by psql"
STREAM = "one stream, pages of 1,000"
ALONE, BESIDE = "GetBooking alone", {1: "GetBooking beside 1 stream", 4: "GetBooking beside 4 streams"}
DEPTH, PAGE_1, AT_THE_END = "a page of 50, one caller", "Teppan, page 1", "Teppan, near the end"
SLOW_READERS, READ_EVERY_SECONDS = 4, 0.5
TARGETS = (
    Target(what="a stream: rate, of COPY's", figure="rows", of=(STREAM, TEPPAN), to=(STREAM, COPY), limit=0.85, at_least=True),
    Target(what="a stream: rate, of Go's", figure="rows", of=(STREAM, TEPPAN), to=(STREAM, GO), limit=1.8, at_least=True),
    Target(what="a stream: the service's CPU", figure="us a row", of=(STREAM, TEPPAN), unit="us a row", limit=1.2),
    Target(what="a stream in Python: the service's CPU", figure="us a row", of=(STREAM, IN_PYTHON), unit="us a row", limit=8),
    Target(what="a page of 50: rate, of Go's", figure="calls", of=(PAGE, TEPPAN), to=(PAGE, GO), limit=0.6, at_least=True),
    Target(what="a page of 50: rate, of FastAPI's", figure="calls", of=(PAGE, TEPPAN), to=(PAGE, FASTAPI), limit=4, at_least=True),
    *(Target(what=f"{FIRST_PAGES[rows]}: p50", figure="p50", of=(FIRST_PAGES[rows], TEPPAN), unit="ms", limit=limit)
      for rows, limit in ((100, 4), (1_000, 8))),
    Target(what="a page near the end: p50, of page 1's", figure="p50", of=(DEPTH, AT_THE_END), to=(DEPTH, PAGE_1), limit=1.1),
    *(Target(what=f"{work}: p50 of {name}", figure="p50", of=(work, name), unit="ms", limit=limit)
      for work in (ALONE, *BESIDE.values()) for name, limit in ((TEPPAN, 5), (IN_PYTHON, 20), (GO, None))),
)  # fmt: skip
"""The design has a limit beside 4 streams; fewer may not cost more."""
STREAM_MIB, READERS_MIB = 2.0, 8.0
"""What may be added: by a whole stream nothing, but the kernel's and the allocator's pages are counted whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table: medians over the rounds. None: not measured, or nothing to compare with."""

    name: str
    server: str
    calls_per_s: float
    rows_per_s: float
    server_us_per_row: float | None
    postgres_us_per_row: float | None
    ratio_to_copy: float | None
    """Of rows a second, within each round; so is the next."""
    ratio_to_go: float | None
    p50_ms: float
    p99_ms: float


async def turns(ground: Ground, seconds: float) -> list[Turn]:
    """Returns everything that is measured in rounds."""
    peers = [
        Peer(name=name, running=running, http=name == FASTAPI)
        for name, running in (
            (TEPPAN, await ground.teppan("bookings")), (IN_PYTHON, await ground.teppan("bookings", python_path=True)),
            (GO, await ground.go(checked=False)), (CHECKED, await ground.go(checked=True)), (FASTAPI, await ground.fastapi()),
        ) if running is not None
    ]  # fmt: skip
    made = [Turn(work=STREAM, server=COPY, measure=lambda: copied(ground), a_row=True)]
    made += [Turn(work=STREAM, server=peer.name, measure=await streamed(ground, peer), a_row=True) for peer in peers]
    by_name = {peer.name: peer for peer in peers}
    for name in (TEPPAN, GO, FASTAPI):
        if name in by_name:
            both = reads(ground, name, by_name[name].running, http=name == FASTAPI, seconds=seconds)
            made += [turn for turn in both if turn.work == PAGE]
    compared = [by_name[name] for name in (TEPPAN, IN_PYTHON, GO) if name in by_name]
    for rows, work in FIRST_PAGES.items():
        made += [Turn(work=work, server=peer.name, measure=first_page(ground, peer, rows, seconds)) for peer in compared]
    page_1, near_the_end = await deep(ground, by_name[TEPPAN], seconds)
    made += [Turn(work=DEPTH, server=PAGE_1, measure=page_1), Turn(work=DEPTH, server=AT_THE_END, measure=near_the_end)]
    for streams, work in ((0, ALONE), *BESIDE.items()):
        made += [Turn(work=work, server=peer.name, measure=beside(ground, peer, streams, seconds)) for peer in compared]
    return made


def rows_of(planned: Sequence[Turn], found: Found) -> list[Row]:
    """Returns medians over the rounds, and medians of ratios within each."""
    return [_row(turn, found[turn.work, turn.server], found) for turn in planned]


def _row(turn: Turn, mine: Sequence[Measured], found: Found) -> Row:
    paced = turn.work in {ALONE, *BESIDE.values()}  # its rate is the clock's
    copy, go = found.get((turn.work, COPY)), None if paced else found.get((turn.work, GO))
    return Row(
        name=turn.work, server=turn.server, calls_per_s=median(each.per_second for each in mine),
        rows_per_s=median(each.rows_per_second for each in mine), server_us_per_row=_spent("server", mine),
        postgres_us_per_row=_spent("postgres", mine), ratio_to_copy=None if copy is None else ratio("rows", mine, copy),
        ratio_to_go=None if go is None else ratio("rows", mine, go), p50_ms=median(each.p50_ms for each in mine),
        p99_ms=median(each.p99_ms for each in mine),
    )  # fmt: skip


def _spent(account: str, mine: Sequence[Measured]) -> float | None:
    if not all(account in each.cpu_seconds for each in mine):
        return None
    return median(each.cpu_us(account, a_row=True) for each in mine)


def show(console: Console, rows: Sequence[Row]) -> None:
    """Prints them."""
    names = ("calls/s", "rows/s", "server us/row", "Postgres us/row", "to COPY", "to Go", "p50 ms", "p99 ms")
    table = Table("", "", *(Column(name, justify="right") for name in names), title="lists")
    for row in rows:
        figures = (
            row.calls_per_s,
            row.rows_per_s,
            row.server_us_per_row,
            row.postgres_us_per_row,
            row.ratio_to_copy,
            row.ratio_to_go,
        )
        table.add_row(row.name, row.server, *map(said, figures), f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}")
    console.print(table)


async def remembered(ground: Ground, seconds: float) -> list[Judged]:
    """Measures the memory of a service of its own: through a whole stream, and with readers that take a page now and then."""
    running = await ground.teppan("bookings")
    call = calls.list_bookings(running.address, BIG, page_size=1_000, rows=ground.right.count, authorization=ground.bearer)
    first = await load.measure_stream(call, ground.right.whole().grpc)  # what is made once, is there
    async with watched(running.pid) as streamed:
        await load.measure_stream(call, None, expected=first.bytes, tolerance=0.01)
    async with watched(running.pid) as read, reading([call] * SLOW_READERS, every=READ_EVERY_SECONDS):
        await asyncio.sleep(seconds)
    readers = f"{SLOW_READERS} slow readers"
    return [
        Judged(what="memory before a stream", value=streamed.before, unit="MiB"),
        Judged(what="memory in a stream, at its highest", value=streamed.highest, unit="MiB"),
        Judged(what="memory after a stream", value=streamed.after, unit="MiB"),
        Judged(what="a whole stream: memory added for good", value=streamed.after - streamed.before, unit="MiB", limit=STREAM_MIB),
        Judged(what=f"memory before {readers}", value=read.before, unit="MiB"),
        Judged(what=f"{readers}: memory added", value=read.highest - read.before, unit="MiB", limit=READERS_MIB),
    ]


async def run(file: Path, *, rounds: int, seconds: float) -> None:
    """Seeds, measures, prints and writes."""
    console = terminal()
    async with laid(console) as ground:
        planned = await turns(ground, seconds)
        for sentence in ground.absent:
            console.print(sentence)
        found = await in_turns(console, "lists", planned, rounds)
        console.print("measuring memory ...")
        kept = await remembered(ground, 2 * seconds)
    rows, judged = rows_of(planned, found), [*judge(TARGETS, found), *kept]
    show(console, rows)
    limits.show(console, "lists: targets", judged)
    settings = about(ground, rounds=rounds, seconds=seconds)
    write(console, file, {**settings, "targets": [each.as_json() for each in judged], "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    asyncio.run(run(FILE, rounds=int(os.environ.get("BENCH_ROUNDS", "5")), seconds=float(os.environ.get("BENCH_SECONDS", "2"))))
