"""Events that could not be applied, of a running stack: shown as a table, replayed, dropped. The services' own commands do it."""

import json
import os
import subprocess
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from local.database import ROOT
from local.stack import PYTHONPATH, Stack, StackFails

FOLLOWERS = ("bookings", "payments")
"""The services that follow others' feeds."""
WIDTH = 160
"""Where nobody looks: in a pipe, lines are not folded to a terminal's width."""


def show(stack: Stack, service: str) -> int:
    """A table of what failed, in one service or in all; the exit code of the first command that did not answer."""
    ids = Column("event, and what it is of", no_wrap=True)  # IDs are to be copied: never folded, and all fits into 80 columns
    table, code = Table(ids, "what became of it", show_lines=True), 0
    for name in [service] if service else FOLLOWERS:
        done = command(stack, name, "events", "list", captured=True)
        code = code or done.returncode
        for line in done.stdout.splitlines():
            table.add_row(*_cells(name, json.loads(line)))
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    if table.row_count:
        console.print(table)
    elif not code:
        print("Every event is applied.")
    return code


def replay(stack: Stack, service: str, id: str) -> int:
    """Applies one event, or all; the exit code. Raises StackFails."""
    if not service or not id:
        raise StackFails("say which: make events-replay S=payments ID=<event>, or ID=all")
    return command(stack, service, "events", "replay", "--all" if id == "all" else id).returncode


def drop(stack: Stack, service: str, id: str, error: str, reason: str) -> int:
    """Gives one event up, or all that fail with an error; the exit code. Raises StackFails."""
    if not service or bool(id) == bool(error) or not reason:
        raise StackFails("say which, and why: make events-drop S=payments ID=<event> REASON='...', or ERROR=<as listed> for ID")
    return command(stack, service, "events", "drop", id or f"--error={error}", f"--reason={reason}").returncode


def command(stack: Stack, service: str, *arguments: str, captured: bool = False) -> "subprocess.CompletedProcess[str]":
    """Runs a command of a service, beside the process that serves."""
    environ = {"PYTHONPATH": PYTHONPATH, "USER": os.environ.get("USER", ""), **stack.environ(service)}
    return subprocess.run(
        [sys.executable, "-m", service, *arguments],
        check=False,
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE if captured else None,
        text=True,
    )


def _cells(service: str, event: dict[str, Any]) -> tuple[str, str]:
    became = f"{event['state']}: {event['attempts']} attempts since {event['first_failed_time'][:16]}"
    behind = f"\n{event['waiting']} behind it" if event["waiting"] else ""
    what = f"{service}: {event['event_id']}\n{event['type']}\n{event['entity_id']}"
    return what, escape(f"{became}{behind}\n{event['error']}: {event['why']}")
