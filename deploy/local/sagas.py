"""What was begun across services and has not ended, of a running stack, as a table. The services' own commands find it."""

import json
import sys
from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from local.database import SERVICES
from local.parked import WIDTH, command
from local.stack import Stack

MINUTE, HOUR, DAY = 60, 3_600, 86_400


def show(stack: Stack, service: str) -> int:
    """The oldest of each kind, in one service or in all; the exit code of the first command that did not answer."""
    ids = Column("saga, and what it is of", no_wrap=True)  # IDs are to be copied: never folded, and all fits into 80 columns
    table, code, shown, found = Table(ids, "since, and what it waits for", show_lines=True), 0, Counter[str](), {}
    for name in [service] if service else SERVICES:
        done = command(stack, name, "sagas", captured=True)
        code = code or done.returncode
        for saga in map(json.loads, done.stdout.splitlines()):
            table.add_row(*_cells(name, saga))
            kind = f"{name}: {saga['kind']}"
            shown[kind] += 1
            found[kind] = saga["unfinished"]
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    if table.row_count:
        console.print(table)
        for kind, count in found.items():
            print(f"{kind}: {count}" + (f", of which the oldest {shown[kind]} are shown" if shown[kind] < count else ""))
    elif not code:
        print("Every saga has ended.")
    return code


def _cells(service: str, saga: dict[str, Any]) -> tuple[str, str]:
    station = f"\nstation {saga['station_id']}" if saga["station_id"] else ""
    what = f"{service}: {saga['kind']}\n{saga['entity_id']}{station}"
    return what, f"{saga['since'][:16]}, {age(saga['seconds'])}\n{saga['waits_for']}"


def age(seconds: float) -> str:
    """As people say it: the largest unit that fits."""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"
