"""`python -m local COMMAND`: the embedded stack of this clone, as the Makefile offers it."""

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from dbcommon.migrate import TooOld
from local import admin, parked, referrers, sagas, stack
from local.backup import CannotRestore, ServiceSchema
from local.database import SERVICES
from local.orphans import StillRuns
from local.ports import BadPorts, chosen_ports
from local.postgres import CannotStart, binaries, data_folder
from local.stack import FOLDER, Stack, StackFails
from local.supervise import NotRunning

REFUSED = 2


def main(arguments: list[str], environ: dict[str, str]) -> int:
    """Runs a command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run in COMMANDS.items():
        added = commands.add_parser(name, help=run.__doc__)
        added.set_defaults(run=run)
        for named, option, about in OPTIONS:
            if name in named:
                added.add_argument(option, **about)
    chosen = parser.parse_args(arguments)
    chosen.environ = environ
    try:
        return int(chosen.run(chosen))
    except (BadPorts, CannotStart, CannotRestore, StackFails, StillRuns, NotRunning, TooOld) as refusal:
        print(refusal, file=sys.stderr)
        return REFUSED


def _file(name: str) -> Path:
    if not name:
        raise argparse.ArgumentTypeError("name a file")
    return Path(name)


OPTIONS: tuple[tuple[set[str], str, dict[str, Any]], ...] = (
    ({"up", "run"}, "--ports", {"default": "", "help": "'identity=6051 bookings=6052': others than 50051 to 50053"}),
    ({"logs", "psql", "backup", "restore"}, "service", {"choices": SERVICES}),
    ({"backup"}, "--to", {"required": True, "type": _file, "help": "a file that is not there yet"}),
    ({"restore"}, "--from", {"required": True, "type": _file, "dest": "file", "help": "what backup wrote"}),
    ({"restore"}, "--data-only", {"action": "store_true", "help": "into the tables that are there"}),
    ({"restore"}, "--confirmed", {"action": "store_true", "help": "what the service has now may go"}),
    ({"events", "events-replay", "events-drop"}, "--service", {"default": "", "choices": ("", *parked.FOLLOWERS)}),
    ({"sagas"}, "--service", {"default": "", "choices": ("", *SERVICES)}),
    ({"events-replay", "events-drop"}, "--id", {"default": "", "help": "of the event; or, to replay, all"}),
    ({"events-drop"}, "--error", {"default": "", "help": "instead of an event: all that fail with it"}),
    ({"events-drop"}, "--reason", {"default": "", "help": "kept in the journal"}),
    ({"referrers", "referrers-leave"}, "--service", {"default": "", "choices": ("", *referrers.OWNERS)}),
    ({"referrers-leave"}, "--referrer", {"default": "", "help": "the service that refers no more"}),
    ({"referrers-leave"}, "--column", {"default": "", "help": "by this table.column"}),
)
"""What commands are told."""


def up(chosen: argparse.Namespace) -> int:
    """Start the stack in the background, and say how to call it"""
    _started(chosen, tied=False)
    return 0


def run(chosen: argparse.Namespace) -> int:
    """Start the stack in the foreground; Ctrl-C stops all of it"""
    signalled = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: signalled.set())
    running = _started(chosen, tied=True)
    try:
        print("Ctrl-C stops it.", flush=True)
        signalled.wait()
    finally:
        stack.stop(running)
    return 0


def down(chosen: argparse.Namespace) -> int:
    """Stop the stack, also where its supervisor was killed; data stay"""
    with contextlib.suppress(NotRunning):
        stack.stop(stack.load(FOLDER))
    print("Nothing of it runs; data stay in place.")
    return 0


def status(chosen: argparse.Namespace) -> int:
    """Say what runs, and what is healthy; 1 where something is not"""
    found = stack.states(stack.load(FOLDER))
    for state in found:
        print(f"{state.name:10} {state.said:12} {f'pid {state.pid}' if state.pid else '':10} {state.address}".rstrip())
    return 0 if all(state.healthy for state in found) else 1


def logs(chosen: argparse.Namespace) -> int:
    """Follow the log of a service"""
    return _become(["tail", "-n", "100", "-F", str(stack.load(FOLDER).supervisor.log(chosen.service))])


def psql(chosen: argparse.Namespace) -> int:
    """Open psql as the owner of a service's schema"""
    running = stack.load(FOLDER)
    url = make_url(running.server.url(running.database, f"{chosen.service}_owner"))
    client = binaries(running.version) / "psql"
    return _become([str(client), url.render_as_string(hide_password=False)])


def backup(chosen: argparse.Namespace) -> int:
    """Write what a service has in the database to a file; it goes on meanwhile"""
    _schema(stack.load(FOLDER), chosen.service).back_up(chosen.to)
    print(f"{chosen.to} has what {chosen.service} has now, but for its keys: {FOLDER / 'secrets'} belongs to it.")
    return 0


def restore(chosen: argparse.Namespace) -> int:
    """Bring back what backup wrote, and stop the service meanwhile"""
    running = stack.load(FOLDER)
    schema = _schema(running, chosen.service)
    schema.check(chosen.file, data_only=chosen.data_only, confirmed=chosen.confirmed)
    print(f"{chosen.service} is stopped meanwhile.", flush=True)
    running.supervisor.halt(chosen.service)
    try:
        schema.restore(chosen.file, data_only=chosen.data_only)
        asyncio.run(schema.migrate())
    finally:
        running.supervisor.run(chosen.service)
    asyncio.run(stack.serving(running))
    print(f"{chosen.service} serves what {chosen.file} had. It and those who follow it catch up with each other by themselves.")
    return 0


def events(chosen: argparse.Namespace) -> int:
    """List events that could not be applied, with what waits behind them"""
    return parked.show(stack.load(FOLDER), chosen.service)


def unfinished(chosen: argparse.Namespace) -> int:
    """List what was begun across services and has not ended"""
    return sagas.show(stack.load(FOLDER), chosen.service)


def events_replay(chosen: argparse.Namespace) -> int:
    """Apply an event that was parked (or all of them), and what waits behind it"""
    return parked.replay(stack.load(FOLDER), chosen.service, chosen.id)


def events_drop(chosen: argparse.Namespace) -> int:
    """Give a parked event up, with the reason, and apply what waits behind it"""
    return parked.drop(stack.load(FOLDER), chosen.service, chosen.id, chosen.error, chosen.reason)


def referring(chosen: argparse.Namespace) -> int:
    """List who refers to what services own, and so is asked before a purge"""
    return referrers.show(stack.load(FOLDER), chosen.service)


def referrers_leave(chosen: argparse.Namespace) -> int:
    """Have a column leave that refers no more"""
    return referrers.leave(stack.load(FOLDER), chosen.service, chosen.referrer, chosen.column)


def token(chosen: argparse.Namespace) -> int:
    """Log in as the platform administrator again (tokens last 15 minutes)"""
    print(admin.describe(stack.load(FOLDER))["token"])
    return 0


def clean(chosen: argparse.Namespace) -> int:
    """Stop the stack and remove its data; asks first"""
    if input(f"Remove all data of {FOLDER}? [y/N] ").strip().lower() not in {"y", "yes"}:
        print("Nothing was removed.")
        return 1
    down(chosen)
    for folder in (data_folder(FOLDER / "data"), FOLDER):
        shutil.rmtree(folder, ignore_errors=True)
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "up": up, "run": run, "status": status, "token": token, "logs": logs, "psql": psql, "down": down, "clean": clean,
    "events": events, "events-replay": events_replay, "events-drop": events_drop,
    "referrers": referring, "referrers-leave": referrers_leave, "sagas": unfinished, "backup": backup, "restore": restore,
}  # fmt: skip


def _schema(running: Stack, service: str) -> ServiceSchema:
    return ServiceSchema(server=running.server, database=running.database, service=service)


def _started(chosen: argparse.Namespace, *, tied: bool) -> Stack:
    """Starts everything, or leaves nothing running."""
    with stack.alone(FOLDER / "starting.lock"):
        with contextlib.suppress(NotRunning):
            before = stack.load(FOLDER)
            if before.supervisor.reachable():
                raise StackFails("the stack runs already: `make status` shows it, `make down` stops it")
            stack.stop(before)  # its supervisor was killed: what is left of it holds the ports and the data
        return _start(chosen, tied=tied)


def _start(chosen: argparse.Namespace, *, tied: bool) -> Stack:
    made = stack.fresh(
        FOLDER,
        version=chosen.environ.get("PG", "18"),
        admin_url=chosen.environ.get("TEPPAN_DATABASE_URL", ""),
        ports=chosen_ports(chosen.ports),
    )
    try:
        stack.start(made, tied=tied)
        print(admin.greeting(made, admin.describe(made)), flush=True)
    except BaseException:
        stack.stop(made)
        raise
    return made


def _become(command: list[str]) -> int:
    return subprocess.run(command, check=False, cwd=Path.cwd()).returncode


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        raise SystemExit(main(sys.argv[1:], dict(os.environ)))
    raise SystemExit(130)
