"""Who refers to what a service of a running stack owns, as a table; and who leaves. The services' own commands do it."""

import json
import sys

from rich.console import Console
from rich.table import Table

from local.parked import WIDTH, command
from local.stack import Stack, StackFails

OWNERS = ("identity", "bookings")
"""The services that own what others refer to."""


def show(stack: Stack, owner: str) -> int:
    """A table of the columns that are asked before a purge; the exit code of the first command that did not answer."""
    table, code = Table("column", "to", "on delete", "known by"), 0
    for name in [owner] if owner else OWNERS:
        done = command(stack, name, "referrers", "list", captured=True)
        code = code or done.returncode
        for each in map(json.loads, done.stdout.splitlines()):
            known = ["the contract"] if each["in_contract"] else []
            known += [f"registered {each['registered_since'][:16]}"] if each["registered_since"] else []
            table.add_row(f"{each['service']}.{each['column']}", each["type"], each["on_delete"], "; ".join(known))
    if not code:
        (Console() if sys.stdout.isatty() else Console(width=WIDTH)).print(table)
    return code


def leave(stack: Stack, owner: str, referrer: str, column: str) -> int:
    """Lets a column leave; the exit code. Raises StackFails."""
    if not owner or not referrer or not column:
        raise StackFails("say who, and whom: make referrers-leave S=identity REFERRER=<service> COLUMN=<table.column>")
    return command(stack, owner, "referrers", "leave", referrer, column).returncode
