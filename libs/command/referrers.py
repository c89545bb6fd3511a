"""`referrers`: who refers to what a service owns, and so is asked before it is purged; listed, and let go (rule 6)."""

import argparse
import json
import sys

from command.beside import Build, on, something
from dbcommon.references import Registry
from service import Serving


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", build: Build) -> None:
    """Adds it; what it answers goes to stdout, the log elsewhere."""
    referrers = commands.add_parser("referrers", help="who refers to what this service owns").add_subparsers(
        required=True, metavar="COMMAND"
    )
    listed = referrers.add_parser("list", help="the columns that are asked before a purge: a JSON object a line")
    leave = referrers.add_parser("leave", help="ask no more about columns that are gone; the contract must not name them")
    leave.add_argument("referrer", type=something, metavar="SERVICE")
    leave.add_argument("columns", nargs="+", type=something, metavar="TABLE.COLUMN")
    for parser, work in ((listed, _list), (leave, _leave)):
        parser.set_defaults(run=on(build, work), log=sys.stderr)


async def _list(wanted: Serving, _: argparse.Namespace) -> int:
    for each in await _registry(wanted).referrers():
        told = {
            "service": each.service,
            "column": each.column,
            "type": each.type,
            "on_delete": each.rule.name,
            "in_contract": each.in_contract,
            "registered_since": each.since and each.since.isoformat(),
        }
        print(json.dumps(told))  # noqa: T201  # the answer of the command
    return 0


async def _leave(wanted: Serving, chosen: argparse.Namespace) -> int:
    await _registry(wanted).leave(chosen.referrer, chosen.columns)
    print(  # noqa: T201  # the answer of the command
        f"{chosen.referrer} is asked no more about {', '.join(chosen.columns)}. `make audit` shows whether anything still refers."
    )
    return 0


def _registry(wanted: Serving) -> Registry:
    if wanted.referrers is None:
        raise LookupError(f"nothing refers to what {wanted.service} owns")
    return wanted.referrers
