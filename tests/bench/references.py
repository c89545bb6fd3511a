"""What references cost a create: `make bench-references` prints a table, and writes build/bench/references.json.

Three databases, copies of one: as it is; with the foreign keys to known rows, and no guard; without both. In every round each
has its turn, in another order, so that what else the machine does falls on all of them alike. The server does not wait for disks:
so the ratios are those of its work, and not smaller ones of work and waiting.
"""

import asyncio
import os
import platform
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from local.database import ROOT, Server
from local.postgres import Postgres, binaries, throwaway
from tests.bench import creates, figures, ground, misses
from tests.bench.creates import Rate
from tests.bench.figures import Seen
from tests.bench.ground import AS_IT_IS, CLIENTS, STATIONS, WITHOUT, Ground
from tests.bench.processes import Processes

FILE = ROOT / "build" / "bench" / "references.json"
TEMPLATE = "teppan_template"
WIDTH = 160
"""Where nobody looks: in a pipe, lines are not folded to a terminal's width."""
HOT, MANY, FIRST = "bookings, one hot station", f"bookings, {STATIONS} stations", "customers"
LIMITS: Mapping[str, Mapping[str, float]] = {HOT: {AS_IT_IS: 1.35}, MANY: {AS_IT_IS: 1.15}, FIRST: {}}
"""How many times as many transactions may go through without guard and key. The design measured 1.30 on a hot row, and
1.12 with a foreign key only."""

Work = Callable[[], Any]
"""What a variant does in a round: awaited, it is a Rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How much of it."""

    rounds: int = 15
    bookings: Mapping[str, int]
    """As pgbench is told: `{"--time": 1}` second, or `{"--transactions": 10}` a client."""
    customers: int = 15
    """A client and round."""


FULL = Amounts(bookings={"--time": 5})
"""Connections live as long as a turn, and have plans and functions to make first; those of a service live for hours."""


async def measure(server: Server, template: str, version: str, folder: Path, amounts: Amounts, done: Callable[[], None]) -> Any:
    """All rounds, by scenario and variant. `folder` is for scripts; `done` is told of each turn."""
    async with AsyncExitStack() as stack:
        laid = await stack.enter_async_context(ground.laid(server, template))
        first = await stack.enter_async_context(misses.customers(laid))
        work: dict[str, dict[str, Work]] = {
            HOT: await _bookings(laid, 1, version, folder, amounts),
            MANY: await _bookings(laid, STATIONS, version, folder, amounts),
            FIRST: {variant: partial(misses.run, create, amounts.customers) for variant, create in first.items()},
        }
        processes = await Processes.of(server.admin_url)
        rounds: dict[str, dict[str, list[Seen]]] = {name: {variant: [] for variant in each} for name, each in work.items()}
        for number in range(amounts.rounds + 1):
            for scenario, variants in work.items():
                names = list(variants)
                for variant in names[number % len(names) :] + names[: number % len(names)]:
                    seen = await _turn(processes, variants[variant])
                    done()
                    if number:  # the first round fills caches and pools
                        rounds[scenario][variant].append(seen)
        return rounds


async def _bookings(laid: Ground, stations: int, version: str, folder: Path, amounts: Amounts) -> dict[str, Work]:
    file = folder / f"create-in-{stations}.sql"
    file.write_text(await creates.script(stations))
    pgbench = binaries(version) / "pgbench"
    return {
        variant: partial(creates.run, pgbench, laid.url(variant, "app"), file, clients=CLIENTS, amount=amounts.bookings)
        for variant in laid.databases
    }


async def _turn(processes: Processes, work: Work) -> Seen:
    async with processes.spent() as spent:
        rate: Rate = await work()
    return Seen(per_second=rate.per_second, cpu_us=spent.seconds / rate.transactions * 1e6)


def rows(rounds: Mapping[str, figures.Rounds]) -> list[figures.Figure]:
    """The table's."""
    return [
        row
        for scenario, variants in rounds.items()
        for row in figures.figures(scenario, variants, base=WITHOUT, limits=LIMITS[scenario])
    ]


async def bench(postgres: Postgres, console: Console, amounts: Amounts) -> None:
    """The whole of it, on a fresh server."""
    server = Server(admin_url=postgres.url())
    await server.prepare(TEMPLATE)
    await server.migrate(TEMPLATE)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(f"{amounts.rounds} rounds, {CLIENTS} clients", total=(amounts.rounds + 1) * 9)
        rounds = await measure(server, TEMPLATE, postgres.version, FILE.parent, amounts, lambda: progress.advance(bar))
    about = {"postgresql": postgres.version, "python": platform.python_version(), "cores": os.cpu_count(), "clients": CLIENTS}
    found = rows(rounds)
    figures.write(FILE, about, found, rounds)
    title = f"{amounts.rounds} rounds, {CLIENTS} clients, {os.cpu_count()} cores, PostgreSQL {postgres.version}"
    figures.show(console, title, found)
    console.print(f"Every round is in {FILE.relative_to(ROOT)}.")


if __name__ == "__main__":
    with throwaway(os.environ.get("PG", "18")) as fresh:
        console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=WIDTH)
        asyncio.run(bench(fresh, console, FULL))
