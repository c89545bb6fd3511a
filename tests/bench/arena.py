"""The ground of a bench: a seeded database, Teppan and its peers on it, rounds, and a table.

Every server has its turn in every round, so that what else the machine does falls on all of them alike; ratios are taken within a round,
and their medians are shown. CPU is the server's, from /proc. Peers whose toolchains are not there are left out by name.
"""

import json
import os
import platform
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median

import asyncpg
import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from sqlalchemy import make_url

from local import secret
from local.database import ROOT, SERVICES, Server
from local.postgres import Postgres, throwaway
from tests.bench import limits
from tests.bench.limits import Found, Target, judge
from tests.bench.peers import cpu, golang, servers
from tests.bench.peers.absent import Absent
from tests.bench.peers.answers import Answers
from tests.bench.peers.cpu import Account
from tests.bench.peers.raw import Measured
from tests.bench.peers.seed import BIG, seed
from tests.bench.peers.tokens import Signer

DATABASE = "bench"
WIDTH = 150
PLANS = {"enable_sort": "off"}
"""As for the role bookings_app: a role without it may sort a whole station for each page, and is no peer."""
LIBRARIES = ("grpcio", "protobuf", "asyncpg", "uvloop")
Measure = Callable[[], Awaitable[Measured]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one server does in each round."""

    work: str
    server: str
    measure: Measure
    a_row: bool = False
    """Whether figures are for each row, and not for each call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table: medians over the rounds."""

    name: str
    server: str
    per_second: float
    server_us: float
    postgres_us: float
    p50_ms: float
    p99_ms: float
    rate_to_first: float
    """Of the first server of the same work, within each round."""
    cpu_to_first: float


class Ground:
    """A seeded database, a key, and the servers that are there."""

    def __init__(self, server: Server, postgres: Postgres, folder: Path, stack: AsyncExitStack, *, bookings: int) -> None:
        self.server, self.postgres, self.folder, self.stack, self.bookings = server, postgres, folder, stack, bookings
        self.signer = Signer.new(folder)
        self.bearer = self.signer.bearer([BIG])
        self.absent: list[str] = []
        self.version = ""
        """Of PostgreSQL, as it says it itself."""
        self.programs: golang.Programs | None = None
        """What is written in Go, as soon as it was built."""

    async def begin(self) -> None:
        """Fills the database."""
        secret.make(self.folder / "secrets", SERVICES)
        await self.server.prepare(DATABASE)
        await self.server.migrate(DATABASE)
        await seed(self.server.url(DATABASE), bookings=self.bookings)
        self.right = await Answers.read(self.server.url(DATABASE), BIG)
        self.backends = await cpu.postgres(self.server.url(DATABASE))
        connection = await asyncpg.connect(self.server.url(DATABASE))
        self.version = await connection.fetchval("SHOW server_version")
        await connection.close()

    def accounts(self, pid: int) -> Sequence[Account]:
        """A server's time, and Postgres'."""
        return [Account(name="server", pid=pid), self.backends]

    def service(self, what: str, *, python_path: bool = False) -> AbstractAsyncContextManager[servers.Running]:
        """Returns what runs a service of Teppan for as long as it is wanted."""
        urls = self.server.roles("bookings", DATABASE)
        return servers.teppan(what, urls, jwks=self.signer.jwks, secrets=self.folder / "secrets", python_path=python_path)

    async def teppan(self, what: str, *, python_path: bool = False) -> servers.Running:
        """Runs one to the end of the bench."""
        return await self.stack.enter_async_context(self.service(what, python_path=python_path))

    async def go(self, *, checked: bool) -> servers.Running | None:
        """The Go peer, where its toolchain is."""
        try:
            self.programs = golang.build()
        except Absent as absent:
            self._leave_out(absent)
            return None
        role = "bookings_app" if checked else "bookings_owner"
        jwks = self.signer.jwks if checked else None
        url = make_url(self.server.url(DATABASE, role)).update_query_dict(PLANS).render_as_string(hide_password=False)
        return await self.stack.enter_async_context(servers.go(self.programs, url, checked_by=jwks))

    async def fastapi(self) -> servers.Running | None:
        """The FastAPI peer, where its packages can be had."""
        try:
            python = servers.install_fastapi()
        except Absent as absent:
            self._leave_out(absent)
            return None
        return await self.stack.enter_async_context(servers.fastapi(python, self.server.url(DATABASE, "bookings_owner")))

    def _leave_out(self, absent: Absent) -> None:
        """Keeps each sentence once, however often its peer is asked for."""
        if str(absent) not in self.absent:
            self.absent.append(str(absent))


async def measured(planned: Sequence[Turn], rounds: int, done: Callable[[], None]) -> dict[tuple[str, str], list[Measured]]:
    """All rounds."""
    found: dict[tuple[str, str], list[Measured]] = {(turn.work, turn.server): [] for turn in planned}
    for number in range(rounds):
        for turn in planned if number % 2 == 0 else reversed(planned):
            found[turn.work, turn.server].append(await turn.measure())
            done()
    return found


def rows_of(planned: Sequence[Turn], found: Found) -> list[Row]:
    """Medians, and ratios to the first server of each work."""
    made = []
    for turn in planned:
        mine = found[turn.work, turn.server]
        first = found[next((other.work, other.server) for other in planned if other.work == turn.work)]
        rate = [each.rows_per_second if turn.a_row else each.per_second for each in mine]
        rates = [each.rows_per_second if turn.a_row else each.per_second for each in first]
        spent = [each.cpu_us("server", a_row=turn.a_row) if "server" in each.cpu_seconds else float("nan") for each in mine]
        spents = [each.cpu_us("server", a_row=turn.a_row) if "server" in each.cpu_seconds else float("nan") for each in first]
        made.append(Row(
            name=turn.work, server=turn.server, per_second=median(rate), server_us=median(spent),
            postgres_us=median(each.cpu_us("postgres", a_row=turn.a_row) if "postgres" in each.cpu_seconds else 0.0 for each in mine),
            p50_ms=median(each.p50_ms for each in mine), p99_ms=median(each.p99_ms for each in mine),
            rate_to_first=median(a / b for a, b in zip(rate, rates, strict=True)),
            cpu_to_first=median(a / b for a, b in zip(spent, spents, strict=True)),
        ))  # fmt: skip
    return made


def show(console: Console, title: str, rows: Sequence[Row]) -> None:
    """Prints them."""
    names = ("a second", "server us", "Postgres us", "p50 ms", "p99 ms", "rate to first", "CPU to first")
    table = Table("", "", *(Column(name, justify="right") for name in names), title=title)
    for row in rows:
        table.add_row(
            row.name, row.server, f"{row.per_second:,.0f}", f"{row.server_us:,.2f}", f"{row.postgres_us:,.2f}", f"{row.p50_ms:.1f}",
            f"{row.p99_ms:.1f}", f"{row.rate_to_first:.2f}", f"{row.cpu_to_first:.2f}",
        )  # fmt: skip
    console.print(table)


def about(ground: Ground, **settings: object) -> dict[str, object]:
    """Returns what the figures were seen on."""
    return {
        "date": datetime.now(UTC).date().isoformat(), "python": platform.python_version(), "machine": platform.machine(),
        "processor": _processor(), "cores": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}", "postgres": ground.version, "go": ground.programs and ground.programs.version,
        "versions": {name: metadata.version(name) for name in LIBRARIES}, "bookings": ground.bookings, **settings,
        "absent": list(ground.absent),
    }  # fmt: skip


def _processor() -> str:
    """Returns its name, where the kernel says it."""
    names = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in names if line.startswith("model name")), platform.processor())


def terminal() -> Console:
    """Returns where a bench prints, wide enough for its tables where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else WIDTH)


@asynccontextmanager
async def laid(console: Console) -> AsyncIterator[Ground]:
    """Seeds a database of a server of its own; the environment says how many bookings, and which PostgreSQL."""
    bookings, version = int(os.environ.get("BENCH_ROWS", "400000")), os.environ.get("PG", "18")
    with throwaway(version) as postgres, tempfile.TemporaryDirectory(prefix="teppan-bench-") as folder:
        async with AsyncExitStack() as stack:
            ground = Ground(Server(admin_url=postgres.url()), postgres, Path(folder), stack, bookings=bookings)
            console.print(f"seeding {bookings:,} bookings of one station, and half as many again of others ...")
            await ground.begin()
            yield ground


async def in_turns(console: Console, title: str, planned: Sequence[Turn], rounds: int) -> Found:
    """Measures all rounds, and shows how far it is."""
    bars = Progress(
        TextColumn(title), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn(), console=console
    )
    with bars:
        task = bars.add_task("", total=rounds * len(planned))
        return await measured(planned, rounds, lambda: bars.advance(task))


async def run(
    file: Path, title: str, plan: Callable[[Ground, float], Awaitable[list[Turn]]], *, rounds: int, seconds: float,
    targets: Sequence[Target] = (),
) -> None:  # fmt: skip
    """Seeds, measures, prints and writes."""
    console = terminal()
    async with laid(console) as ground:
        planned = await plan(ground, seconds)
        for sentence in ground.absent:
            console.print(sentence)
        found = await in_turns(console, title, planned, rounds)
    rows, judged = rows_of(planned, found), judge(targets, found)
    show(console, title, rows)
    limits.show(console, f"{title}: targets", judged)
    settings = about(ground, rounds=rounds, seconds=seconds)
    write(console, file, {**settings, "targets": [each.as_json() for each in judged], "rows": [asdict(row) for row in rows]})


def write(console: Console, file: Path, found: Mapping[str, object]) -> None:
    """Writes figures as JSON, and says where."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=2) + "\n")
    console.print(f"{file.relative_to(ROOT)} has every figure")
