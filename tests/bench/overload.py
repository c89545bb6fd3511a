"""What becomes of a service that is asked for too much: `make bench-overload` prints tables, and writes build/bench/overload.json."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Column, Table

from local.database import ROOT
from tests.bench import idle, limits
from tests.bench.arena import Ground, about, laid, terminal, write
from tests.bench.crowds import MIXES, crowd_of, noisy, quiet_paced, unread
from tests.bench.idle import SETTLE_SECONDS
from tests.bench.limits import Judged, said
from tests.bench.peers.golang import Programs
from tests.bench.peers.offered import Crowd, Offered, offer
from tests.bench.peers.scripted import run_written

FILE = ROOT / "build" / "bench" / "overload.json"
CALLERS = 16
TIMES_THE_PEAK = 3
GOOD_SHARE, RECOVERED_SHARE, RECOVERED_SECONDS, KEPT_SHARE = 0.8, 0.9, 5, 0.8
LATE_MS = 50
"""A twentieth of the deadline. Where calls begin later, the client is the bottleneck, and the figures are not the server's."""
ROUNDS = 3


class Needed(Exception):
    """The bench cannot run without this; the sentence says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How long each part lasts, in seconds."""

    mixes: Sequence[str]
    overload: float = 60
    peak: float = 3
    recovery: float = 10
    """More than the limit: what has not recovered by then has missed it."""
    noisy: float = 5
    readers: float = 10
    idle: float = 20
    settle: float = SETTLE_SECONDS

    @classmethod
    def read(cls) -> "Settings":
        """Reads BENCH_MIXES, names of `MIXES`, and BENCH_SECONDS, of the overload; a short trial is short in all its parts."""
        seconds = float(os.environ.get("BENCH_SECONDS", "60"))
        share = min(1.0, seconds / 20)
        return cls(
            mixes=os.environ.get("BENCH_MIXES", " ".join(MIXES)).split(), overload=seconds, peak=3 * share,
            noisy=5 * share, readers=10 * share, idle=20 * share,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A mix, at its peak and at three times that."""

    name: str
    peak_per_s: float
    offered_per_s: float
    good_per_s: float
    refused_per_s: float
    expired_per_s: float
    skipped_per_s: float
    p50_ms: float | None
    """Of good answers, as the next; None where there was none."""
    p99_ms: float | None
    refused_p50_ms: float | None
    refused_p99_ms: float | None
    late_p50_ms: float
    late_p99_ms: float
    late_most_ms: float
    client_cores: float
    failures: dict[str, int]


async def peak(programs: Programs, crowd: Crowd, seconds: float) -> float:
    """Returns good answers a second of a closed loop: the median of some rounds, after one that warms."""
    rates = []
    for _ in range(1 + ROUNDS):
        seen = await run_written(
            crowd.call, crowd.bodies, crowd.offset, clients=CALLERS, seconds=seconds, programs=programs
        )  # fmt: skip
        rates.append(seen.per_second)
    return median(rates[1:])


async def overloaded(programs: Programs, name: str, crowd: Crowd, settings: Settings) -> tuple[Row, list[Judged]]:
    """Offers three times the peak, then watches a closed loop recover."""
    most = await peak(programs, crowd, settings.peak)
    seen = await offer(
        programs, crowd, per_second=TIMES_THE_PEAK * most, seconds=settings.overload, after_seconds=settings.recovery, after_clients=CALLERS
    )  # fmt: skip
    recovered = seen.recovered(RECOVERED_SHARE * most)
    judged = [
        Judged(what=f"{name}: good answers, of the peak", value=seen.good_per_second / most, limit=GOOD_SHARE, at_least=True),
        Judged(what=f"{name}: {RECOVERED_SHARE:.0%} of the peak again", value=recovered, unit="s", limit=RECOVERED_SECONDS),
        Judged(what=f"{name}: calls began late, p99", value=seen.late_p99_ms, unit="ms", limit=LATE_MS),
        Judged(what=f"{name}: calls that the client left out", value=seen.skipped / seen.due, unit="of those due"),
    ]
    return _row(name, most, seen), judged


def _row(name: str, most: float, seen: Offered) -> Row:
    return Row(
        name=name, peak_per_s=most, offered_per_s=seen.due / seen.seconds, good_per_s=seen.good_per_second,
        refused_per_s=seen.refused / seen.seconds, expired_per_s=seen.expired / seen.seconds, skipped_per_s=seen.skipped / seen.seconds, p50_ms=seen.good_p50_ms,
        p99_ms=seen.good_p99_ms, refused_p50_ms=seen.refused_p50_ms, refused_p99_ms=seen.refused_p99_ms, late_p50_ms=seen.late_p50_ms,
        late_p99_ms=seen.late_p99_ms, late_most_ms=seen.late_most_ms, client_cores=seen.client_cores, failures=dict(seen.failures),
    )  # fmt: skip


async def neighbours(ground: Ground, programs: Programs, most: float, settings: Settings) -> list[Judged]:
    """Measures a quiet station alone and beside a noisy one, each time in a service of its own; then one that calls seldom."""
    ratios = []
    for _ in range(ROUNDS):
        async with ground.service("bookings") as running:
            alone, beside = await noisy(ground, programs, running, TIMES_THE_PEAK * most, settings.noisy)
        ratios.append(beside / alone)
    async with ground.service("bookings") as running:
        seldom = await quiet_paced(ground, programs, running, TIMES_THE_PEAK * most, most / 10, settings.noisy)
    what = "a quiet station beside a noisy one"
    return [
        Judged(what=f"{what}: rate of 4 callers, of that alone", value=median(ratios), limit=KEPT_SHARE, at_least=True),
        Judged(what=f"{what}, a tenth of the peak: good answers", value=seldom.good / seldom.due, unit="of those due"),
        Judged(what=f"{what}, a tenth of the peak: p50", value=seldom.good_p50_ms, unit="ms"),
        Judged(what=f"{what}, a tenth of the peak: p99", value=seldom.good_p99_ms, unit="ms"),
    ]


def show(console: Console, rows: Sequence[Row]) -> None:
    """Prints them."""
    names = (
        "peak/s", "offered/s", "good/s", "refused/s", "expired/s", "p50 ms", "p99 ms", "refused p50", "refused p99", "late p50", "late p99",
        "client's cores",
    )  # fmt: skip
    table = Table("", *(Column(name, justify="right") for name in names), title=f"{TIMES_THE_PEAK} times the peak")
    for row in rows:
        figures = (
            row.peak_per_s, row.offered_per_s, row.good_per_s, row.refused_per_s, row.expired_per_s, row.p50_ms, row.p99_ms,
            row.refused_p50_ms, row.refused_p99_ms, row.late_p50_ms, row.late_p99_ms, row.client_cores,
        )  # fmt: skip
        table.add_row(row.name, *map(said, figures))
    console.print(table)
    for row in rows:
        for reason, count in sorted(row.failures.items(), key=lambda item: -item[1]):
            console.print(f"{row.name}: {count:,} times {reason}")


async def measured(console: Console, ground: Ground, settings: Settings) -> tuple[list[Row], list[Judged]]:
    """Measures all but idleness, each mix on a service of its own. Raises Needed."""
    await ground.go(checked=False)
    if ground.programs is None:
        raise Needed(f"No other client than the one in Go offers enough. {' '.join(ground.absent)}")
    console.print("readers that stop, or take a page now and then ...")
    judged = await unread(ground, settings.readers)  # first: creates change the list
    rows, programs = [], ground.programs
    for name in settings.mixes:
        console.print(f"{name}: its peak, then {TIMES_THE_PEAK} times that for {settings.overload:g} s ...")
        async with ground.service("bookings") as running:
            row, found = await overloaded(programs, name, await crowd_of(ground, running, name), settings)
        rows.append(row)
        judged += found
        if name == "GetBooking":
            console.print("a quiet station beside a noisy one ...")
            judged += await neighbours(ground, programs, row.peak_per_s, settings)
    return rows, judged


async def _laid(console: Console, settings: Settings) -> tuple[dict[str, object], list[Row], list[Judged]]:
    async with laid(console) as ground:
        rows, judged = await measured(console, ground, settings)
        return about(ground, **asdict(settings)), rows, judged


def run(file: Path, settings: Settings) -> None:
    """Seeds, measures, prints and writes."""
    console = terminal()
    seen, rows, judged = asyncio.run(_laid(console, settings))
    console.print(f"all services, {settings.idle:g} s without a call ...")
    judged += idle.measured(settings.idle, settings.settle)
    show(console, rows)
    limits.show(console, "overload: targets", judged)
    write(console, file, {**seen, "targets": [each.as_json() for each in judged], "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    run(FILE, Settings.read())
