"""`events`: what a service could not apply of what others said; listed, replayed, dropped."""

import argparse
import json
import sys
from typing import Any
from uuid import UUID

from command.beside import FAILS, Build, on, something
from dbcommon.replay import Advanced
from service import Serving, parked_of

SHOWN = ("event_id", "owner", "type", "entity_id", "station_id", "version", "state", "attempts", "waiting")
TIMES = ("first_failed_time", "next_attempt_time", "parked_time")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", build: Build) -> None:
    """Adds it; what it answers goes to stdout, the log elsewhere."""
    events = commands.add_parser("events", help="events that could not be applied").add_subparsers(required=True, metavar="COMMAND")
    listed = events.add_parser("list", help="what failed, with how many wait behind it: a JSON object a line")
    replay = events.add_parser("replay", help="apply an event, and what waits behind it, in order")
    which = replay.add_mutually_exclusive_group(required=True)
    which.add_argument("event_id", nargs="?", type=UUID, metavar="EVENT_ID")
    which.add_argument("--all", action="store_true", help="everything that lies aside")
    drop = events.add_parser("drop", help="give an event up for good, and apply what waits behind it")
    which = drop.add_mutually_exclusive_group(required=True)
    which.add_argument("event_id", nargs="?", type=UUID, metavar="EVENT_ID")
    which.add_argument(
        "--error", type=something, help="all that are parked with it, as `list` names it, and what fails likewise behind them"
    )
    drop.add_argument("--reason", required=True, type=something, help="kept in the journal: no private data")
    drop.add_argument("--by", type=something, help="who decided it; the user of this process by default")
    for parser, work in ((listed, _list), (replay, _replay), (drop, _drop)):
        parser.set_defaults(run=on(build, work), log=sys.stderr)


async def _list(wanted: Serving, _: argparse.Namespace) -> int:
    for row in await parked_of(wanted).heads():
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
    parked, by, what = parked_of(wanted), chosen.by or chosen.user, "dropped; behind it applied"
    if chosen.event_id:
        return _said(chosen.event_id, await parked.drop(chosen.event_id, by=by, reason=chosen.reason), what)
    found = [head.event_id for head in await parked.heads() if (head.state, head.error_class) == ("parked", chosen.error)]
    if not found:
        print(f"nothing is parked that fails with {chosen.error}")  # noqa: T201  # the answer of the command
    code = 0 if found else FAILS
    for id in found:
        dropping: UUID | None = id
        while dropping:  # what waits behind it may fail likewise
            advanced = await parked.drop(dropping, by=by, reason=chosen.reason)
            said = _said(dropping, advanced, what)
            alike = advanced is not None and advanced.failure is not None and advanced.failure.name == chosen.error
            dropping = advanced.event_id if advanced and alike else None
            code = code if alike else max(code, said)
    return code


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
