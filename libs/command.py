"""The command line that every service has: serve, migrate, sagas; and where it follows feeds, what to do about parked events."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import uvloop

from dbcommon import migrate
from dbcommon.replay import Advanced
from dbcommon.schema import Schema
from dbcommon.tenancy import Unsafe
from faults import Fault
from rpccommon.server import CannotListen, until_signalled
from rpccommon.telemetry import logging_to
from service import Serving, Unready, beside, parked_of, sagas_of, serving
from settings import Reader, SettingsWrong
from tls import TlsWrong

REFUSED = 2
"""The exit code where the service refuses to start: nothing gets better by starting it again."""
FAILS = 1
"""The exit code where an event cannot be applied still, or is not there."""
SHOWN = ("event_id", "owner", "type", "entity_id", "station_id", "version", "state", "attempts", "waiting")
TIMES = ("first_failed_time", "next_attempt_time", "parked_time")

SIGNALLED = 128

Command = Callable[[argparse.Namespace, Mapping[str, str]], int]
Build = Callable[[Mapping[str, str]], Serving]
Work = Callable[[Serving, argparse.Namespace], Awaitable[int]]


def main(
    schema: Schema, migrations: Path, build: Build, environ: Mapping[str, str],
    arguments: Sequence[str], more: Callable[["argparse._SubParsersAction[argparse.ArgumentParser]"], None] | None = None,
) -> int:  # fmt: skip
    """Runs a command of a service; the exit code. `more` adds commands of its own, each with a default `run`."""
    parser = argparse.ArgumentParser(prog=f"python -m {schema.service}")
    commands = parser.add_subparsers(metavar="COMMAND")
    commands.add_parser("serve", help="serve until SIGTERM or SIGINT (the default)")
    upgrade = commands.add_parser("migrate", help="bring the schema to its newest revision, as its owner")
    upgrade.set_defaults(run=lambda _, environ: _migrate(schema, migrations, environ))
    parser.set_defaults(run=lambda _, environ: uvloop.run(_serve(build, environ)), log=sys.stdout)
    unfinished = commands.add_parser("sagas", help="what was begun and has not ended, the oldest first: a JSON object a line")
    unfinished.set_defaults(run=_on(build, _sagas), log=sys.stderr)
    if "parked_events" in schema.access:
        _add_events(commands, build)
    if more is not None:
        more(commands)
    chosen = parser.parse_args(arguments)
    logging_to(chosen.log)
    signal.signal(signal.SIGTERM, _ended)
    try:
        return int(chosen.run(chosen, environ))
    except (SettingsWrong, TlsWrong, Unsafe, CannotListen) as refusal:
        print(f"{schema.service} does not start:\n{refusal}", file=sys.stderr)  # noqa: T201  # for the operator, not for the log
        return REFUSED


def _ended(number: int, _: object) -> NoReturn:
    """Ends the process, until it serves and has a handler of its own: the first process of a container has none else."""
    raise SystemExit(SIGNALLED + number)


async def _serve(build: Build, environ: Mapping[str, str]) -> int:
    async with serving(build(environ)):  # built in the loop that it runs in: gRPC's channels are bound to it
        await until_signalled()
    return 0


def _migrate(schema: Schema, migrations: Path, environ: Mapping[str, str]) -> int:
    reader = Reader(environ)
    url = reader.secret("TEPPAN_DATABASE_OWNER_URL")
    reader.done()
    reached = asyncio.run(migrate.upgrade(url, schema.service, migrations))
    print(f"{schema.service} is at revision {reached}")  # noqa: T201  # the answer of the command
    return 0


def _add_events(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", build: Build) -> None:
    """Adds `events`; what they answer goes to stdout, the log elsewhere."""
    events = commands.add_parser("events", help="events that could not be applied").add_subparsers(required=True, metavar="COMMAND")
    listed = events.add_parser("list", help="what failed, with how many wait behind it: a JSON object a line")
    replay = events.add_parser("replay", help="apply an event, and what waits behind it, in order")
    which = replay.add_mutually_exclusive_group(required=True)
    which.add_argument("event_id", nargs="?", type=UUID, metavar="EVENT_ID")
    which.add_argument("--all", action="store_true", help="everything that lies aside")
    drop = events.add_parser("drop", help="give an event up for good, and apply what waits behind it")
    drop.add_argument("event_id", type=UUID, metavar="EVENT_ID")
    drop.add_argument("--reason", required=True, type=_something, help="kept in the journal: no private data")
    drop.add_argument("--by", type=_something, help="who decided it; the user of this process by default")
    for parser, work in ((listed, _list), (replay, _replay), (drop, _drop)):
        parser.set_defaults(run=_on(build, work), log=sys.stderr)


def _on(build: Build, work: Work) -> Command:
    """A command that works beside the processes that serve."""
    return lambda chosen, environ: asyncio.run(_beside(build, work, chosen, environ))


async def _beside(
    build: Build,
    work: Work,
    chosen: argparse.Namespace,
    environ: Mapping[str, str],
) -> int:
    try:
        async with beside(build(environ)) as wanted:
            chosen.user = environ.get("USER") or f"uid {os.getuid()}"
            return await work(wanted, chosen)
    except (Fault, Unready) as refusal:
        print(refusal, file=sys.stderr)  # noqa: T201  # for the operator, not for the log
        return REFUSED


async def _sagas(wanted: Serving, _: argparse.Namespace) -> int:
    sagas = sagas_of(wanted)
    for row in await sagas.oldest():
        told = {
            "kind": row.kind,
            "entity_id": str(row.entity_id),
            "station_id": row.station_id and str(row.station_id),
            "since": row.since.isoformat(),
            "seconds": round(row.seconds, 1),
            "unfinished": row.unfinished,
            "waits_for": sagas.waits_for(row.kind),
        }
        print(json.dumps(told))  # noqa: T201  # the answer of the command
    return 0


async def _list(wanted: Serving, _: argparse.Namespace) -> int:
    for head in await parked_of(wanted).heads():
        row = head._mapping  # noqa: SLF001  # SQLAlchemy's public name for it
        shown: dict[str, Any] = {name: row[name] if isinstance(row[name], int | None) else str(row[name]) for name in SHOWN}
        shown |= {name: row[name] and row[name].isoformat() for name in TIMES}
        print(json.dumps({**shown, "error": row["error_class"], "why": row["error_sentence"]}))  # noqa: T201  # the answer of the command
    return 0


async def _replay(wanted: Serving, chosen: argparse.Namespace) -> int:
    parked = parked_of(wanted)
    if not chosen.all:
        return _said(chosen.event_id, await parked.replay(chosen.event_id), "applied")
    done = [(head.event_id, await parked.replay(head.event_id)) for head in await parked.heads()]
    return max([_said(id, advanced, "applied") for id, advanced in done if advanced], default=0)


async def _drop(wanted: Serving, chosen: argparse.Namespace) -> int:
    by = chosen.by or chosen.user
    return _said(
        chosen.event_id, await parked_of(wanted).drop(chosen.event_id, by=by, reason=chosen.reason), "dropped; behind it applied"
    )


def _said(event_id: UUID, advanced: Advanced | None, what: str) -> int:
    """Tells the operator what became of an event; the exit code."""
    if advanced is None:
        print(f"{event_id}: no such event lies aside")  # noqa: T201  # the answer of the command
        return FAILS
    print(f"{event_id}: {what}: {advanced.applied}")  # noqa: T201  # likewise
    if advanced.failure is None:
        return 0
    print(f"{advanced.event_id}: fails: {advanced.failure.name}: {advanced.failure.sentence}")  # noqa: T201  # likewise
    return FAILS


def _something(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text.strip()
