"""What the operator sees: bars while it goes on, then a table; and what the exit code says."""

from collections.abc import Mapping
from datetime import UTC

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID
from rich.table import Column, Table
from teppan.common.v1 import audits_pb2 as pb
from teppan.common.v1 import options_pb2

CLEAN, DANGLING, FAILED = 0, 1, 2
SHOWN_MAX = 1_000
"""Lines of the table; the totals are of all."""
COUNTED_MAX = 1_000
"""Rows of one thing: services count no further."""
DOES = {
    options_pb2.ON_DELETE_CASCADE: "a repair deletes the rows",
    options_pb2.ON_DELETE_NULLIFY: "a repair empties the column",
    options_pb2.ON_DELETE_RESTRICT: "for an operator: no repair touches them",
}


class Report:
    """Gathers what all services say."""

    def __init__(self, console: Console, progress: Progress | None) -> None:
        """`progress` has a bar for each column; without one a line is printed for each column that is done."""
        self._console = console
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._dangling: dict[tuple[str, str], pb.DanglingReference] = {}
        self._repaired: dict[tuple[str, str], int] = {}
        self._undecided: list[str] = []
        self._ends: dict[str, pb.AuditEnd] = {}

    def told(self, service: str, step: pb.AuditReferencesResponse) -> None:
        """Takes a step of a service."""
        match step.WhichOneof("step"):
            case "progress":
                self._show(f"{service}.{step.progress.column}", step.progress)
            case "dangling":
                self._dangling[f"{service}.{step.dangling.column}", step.dangling.id] = step.dangling
            case "repaired":
                key = (f"{service}.{step.repaired.column}", step.repaired.id)
                self._repaired[key] = self._repaired.get(key, 0) + step.repaired.rows
            case "undecided":
                self._undecided.append(_undecided(service, step.undecided))
            case "end":
                self._ends[service] = step.end

    def close(self, failed: Mapping[str, str]) -> int:
        """Shows all of it, with the services that did not come to an end, and why; the exit code."""
        if self._dangling:
            self._console.print(self._table())
            if len(self._dangling) > SHOWN_MAX:
                self._say(f"... and {len(self._dangling) - SHOWN_MAX:,} more.")
        for line in self._undecided:
            self._say(f"Undecided: {line}")
        for service, why in failed.items():
            self._say(f"{service}: the audit did not end: {why}")
        asked, columns, rows = (sum(getattr(end, name) for end in self._ends.values()) for name in _TOTALS)
        self._say(f"{columns} columns, {asked:,} things asked about, {len(self._dangling):,} not there, {rows:,} rows repaired.")
        if failed or self._undecided:
            return FAILED
        return DANGLING if self._dangling else CLEAN

    def _show(self, column: str, progress: pb.AuditProgress) -> None:
        if not progress.column:
            return
        if self._progress is None:
            if progress.complete:
                self._say(f"{column}: {_scanned(progress)}")
            return
        if column not in self._bars:
            self._bars[column] = self._progress.add_task(column, total=progress.rows_about, asked=0)
        done = progress.rows_about if progress.complete else progress.rows_scanned
        self._progress.update(self._bars[column], completed=done, asked=progress.things_asked)

    def _table(self) -> Table:
        ids = Column("column, and what its rows refer to", no_wrap=True)  # IDs are to be copied: never folded
        table = Table(ids, "rows, since when, and what is done", show_lines=True)
        for (column, id), found in list(self._dangling.items())[:SHOWN_MAX]:
            station = f"\nstation {found.station_id}" if found.station_id not in {"", id} else ""
            since = found.first_seen_time.ToDatetime(UTC).isoformat()[:16]
            repaired = self._repaired.get((column, id))
            became = DOES[found.on_delete] if repaired is None else f"repaired: {repaired:,} rows"
            table.add_row(
                f"{column}\n{id}{station}", escape(f"{found.rows:,}{'+' if found.rows >= COUNTED_MAX else ''}, {since}\n{became}")
            )
        return table

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)


_TOTALS = ("things_asked", "columns", "rows_repaired")


def _undecided(service: str, step: pb.UndecidedReferences) -> str:
    what = f"{len(step.ids):,} things, {step.ids[0]} among them" if step.ids else "the rest of the column"
    return f"{service}.{step.column}: {what}: {step.why}"


def _scanned(progress: pb.AuditProgress) -> str:
    """The rows are the planner's guess, which for a table that was never analysed is no figure to show."""
    if not progress.things_asked:
        return "no row refers to anything"
    return f"{progress.things_asked:,} things asked about, in some {progress.rows_about:,} rows"
