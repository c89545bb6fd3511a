"""The command line that every service has: serve, migrate, sagas; who follows feeds has events, who is referred to referrers."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import uvloop

from command import events, referrers
from command.beside import REFUSED, Build, on
from dbcommon import migrate
from dbcommon.schema import Schema
from dbcommon.tenancy import Unsafe
from rpccommon.server import CannotListen, until_signalled
from rpccommon.telemetry import logging_to
from service import Serving, freeze, sagas_of, serving
from settings import Reader, SettingsWrong
from tls import TlsWrong

SIGNALLED = 128


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
    unfinished.set_defaults(run=on(build, _sagas), log=sys.stderr)
    if "parked_events" in schema.access:
        events.add(commands, build)
    if "referrers" in schema.access:
        referrers.add(commands, build)
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
        freeze()
        await until_signalled()
    return 0


def _migrate(schema: Schema, migrations: Path, environ: Mapping[str, str]) -> int:
    reader = Reader(environ)
    url = reader.secret("TEPPAN_DATABASE_OWNER_URL")
    reader.done()
    try:
        reached = asyncio.run(migrate.upgrade(url, schema.service, migrations))
    except migrate.TooOld as refusal:
        print(refusal, file=sys.stderr)  # noqa: T201  # the answer of the command
        return REFUSED
    newer = ", which is newer than this code and serves it" if reached > migrate.head(migrations) else ""
    print(f"{schema.service} is at revision {reached}{newer}")  # noqa: T201  # the answer of the command
    return 0


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
