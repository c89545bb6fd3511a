"""`python -m audit`: 0 where nothing dangles, 1 where something does (also where it was repaired), 2 where that is not decided."""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from audit import streams
from audit.report import FAILED, Report
from local.stack import FOLDER

STACK = FOLDER / "stack.json"
WIDTH = 160
"""Where nobody looks: in a pipe, lines are not folded to a terminal's width."""


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m audit", description=__doc__)
    parser.add_argument("--stack", type=Path, default=STACK, help="where a stack says how to call it: its stack.json")
    parser.add_argument("--columns", default="", help="'bookings.slots.station_id payments.payments.booking_id'; all by default")
    parser.add_argument("--repair", action="store_true", help="apply the rule of its column to what dangles, and write it down")
    chosen = parser.parse_args()
    try:
        return asyncio.run(audit(streams.load(chosen.stack), streams.wanted(chosen.columns), repair=chosen.repair))
    except streams.CannotAsk as refusal:
        print(refusal, file=sys.stderr)
        return FAILED


async def audit(stack: streams.Stack, wanted: Mapping[str, Sequence[str]], *, repair: bool) -> int:
    """Audits, with a bar for each column where somebody looks; the exit code."""
    if not sys.stdout.isatty():
        report = Report(Console(width=WIDTH), None)
        return report.close(await streams.ask(stack, wanted, repair=repair, told=report.told))
    console = Console()
    asked = TextColumn("{task.fields[asked]} asked")
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), asked, TimeElapsedColumn(), console=console
    ) as bars:
        report = Report(console, bars)
        failed = await streams.ask(stack, wanted, repair=repair, told=report.told)
    return report.close(failed)


if __name__ == "__main__":
    sys.exit(main())
