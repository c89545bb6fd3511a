"""Plays the demo; ends with `demo: ok` and the figures that it saw, or says what was otherwise and exits with 1."""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from grpc.aio import AioRpcError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from teppan.bookings.v1.bookings_pb2 import Booking

from demo import listing, load, scene, story
from demo.calls import Backend
from local import admin, stack
from local.database import ROOT, SERVICES
from local.ports import ANY_PORT, BadPorts
from local.postgres import CannotStart, data_folder
from local.stack import Stack, StackFails
from local.supervise import NotRunning

FOLDER = ROOT / "build" / "demo"
BOOKINGS = 10_000
DATABASE = "teppan_demo"
ANY_PORTS = dict.fromkeys(SERVICES, ANY_PORT)

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--bookings", type=int, default=BOOKINGS, help=f"how many; {BOOKINGS:,} by default")
    count = parser.parse_args().bookings
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        with stack.alone(FOLDER.with_suffix(".lock")), running() as fresh:
            asyncio.run(play(fresh, admin.describe(fresh)["token"], count))
    except KeyboardInterrupt:
        console.print("demo: interrupted; nothing stays running")
        return 130
    except (BadPorts, CannotStart, StackFails, NotRunning, listing.Incomplete, story.Unlike, AioRpcError) as problem:
        console.print(f"demo: failed: {problem}", markup=False)
        return 1
    return 0


@contextmanager
def running() -> Iterator[Stack]:
    """A fresh stack on free ports, of which nothing stays."""
    console.print("A fresh stack: PostgreSQL, identity, bookings, payments ...")
    for folder in (FOLDER, data_folder(FOLDER / "data")):
        shutil.rmtree(folder, ignore_errors=True)
    fresh = stack.fresh(
        FOLDER, version=os.environ.get("PG", "18"), admin_url=os.environ.get("TEPPAN_DATABASE_URL", ""),
        ports=ANY_PORTS, database=DATABASE,
    )  # fmt: skip
    try:
        if not fresh.embedded:
            asyncio.run(fresh.server.drop(DATABASE))
        stack.start(fresh, tied=True)
        yield fresh
    finally:
        stack.stop(fresh)
        shutil.rmtree(data_folder(FOLDER / "data"), ignore_errors=True)


async def play(fresh: Stack, token: str, count: int) -> None:
    """The whole demo, by the token of the first administrator."""
    async with Backend({service: fresh.address(service) for service in SERVICES}) as backend:
        set_up = await scene.build(backend, token)
        places = ", ".join(f"{place.name} ({place.currency_code})" for place in set_up.places)
        console.print(f"Stations: {places}. Members of the first: {', '.join(set_up.tokens)}.")
        made, seconds = await _book(backend, set_up, count)
        listed = await _list(backend, set_up, made)
        console.print("One booking, followed:")
        await story.follow(backend, set_up, _say)
        console.print("Refusals:")
        await story.refusals(backend, set_up, _say)
    rates = f"{len(made) / seconds:,.0f} bookings created per second, {listed:,.0f} rows listed per second"
    console.print(f"demo: ok ({rates}; {os.cpu_count()} cores, client and servers on them together)")


async def _book(backend: Backend, set_up: scene.Scene, count: int) -> tuple[list[Booking], float]:
    await load.book(backend, set_up.admin, load.elsewhere(set_up), lambda: None)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    requests = await load.wanted(backend, set_up, count)
    started = time.perf_counter()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(f"Bookings, {load.CALLERS} callers", total=count)
        made = await load.book(backend, set_up.tokens["agent"], requests, lambda: progress.advance(bar))
    return list(made), time.perf_counter() - started


async def _list(backend: Backend, set_up: scene.Scene, made: list[Booking]) -> float:
    """Lists, compares, breaks and resumes; the rows per second of the whole stream."""
    viewer, station = set_up.tokens["viewer"], set_up.main.station_id
    started = time.perf_counter()
    found = await listing.whole(backend, viewer, station)
    seconds = time.perf_counter() - started
    listing.expect(found, made)
    console.print(f"Listed {len(found):,} bookings in {seconds:.2f} s: each once, in order.")
    listing.expect(await listing.broken(backend, viewer, station), made)
    console.print(f"Broke a stream after {listing.BREAKS_AFTER} pages, and resumed it from its last token: the same.")
    return len(found) / seconds


def _say(line: str) -> None:
    console.print(f"  {line}", markup=False)


def _interrupted(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
