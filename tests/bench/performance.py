"""Writes docs/performance.md and its plots from what the benches left in build/bench. Each bench's target runs it at its end."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.database import ROOT
from tests.bench.limits import bound, said, verdict
from tests.bench.peers.absent import Absent
from tests.bench.peers.servers import install_fastapi

FOUND = ROOT / "build" / "bench"
PAGE = ROOT / "docs" / "performance.md"
PLOT = Path(__file__).with_name("plot.py")
PLOT_SECONDS = 60
WHOLE = {"bookings": 400_000, "rounds": 5, "overload": 60}
"""A run with less of any of these is a trial."""
INTRODUCTION = """# Performance

`make bench-list`, `make bench-rpc` and `make bench-overload` write this page from what they measured last. Change nothing here.

Clients, servers and PostgreSQL share one machine. Every server has its turn in every round, ratios are taken within a round, and
medians of rounds are shown. CPU is the server's own, from `/proc`. What the peers are, and what they leave out, is in
[tests/bench/peers](../tests/bench/peers/README.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What the page says of a bench, besides its figures."""

    file: str
    title: str
    how: str
    columns: Mapping[str, str]
    """Headings by field of a row."""
    plotted: Sequence[str] = ()
    """Names of rows, of which the plot shows a field."""
    field: str = ""
    plot_title: str = ""


SECTIONS = (
    Section(
        file="list.json", title="Lists", field="rows_per_s", plotted=("one stream, pages of 1,000",),
        plot_title="One stream of all bookings: rows a second",
        how="One client reads all bookings of the big station, without parsing them; COPY is of the same rows in the same order."
        " GetBooking beside streams is called 20 times a second by the clock. Memory is that of a fresh service after one stream.",
        columns={"name": "", "server": "", "rows_per_s": "rows/s", "server_us_per_row": "server us/row", "postgres_us_per_row": "PostgreSQL us/row",
                 "ratio_to_copy": "of COPY", "ratio_to_go": "of Go", "p50_ms": "p50 ms", "p99_ms": "p99 ms"},
    ),
    Section(
        file="rpc.json", title="Calls", field="per_second", plotted=("GetBooking, 16 callers", "a page of 50, 16 callers", "CreateBooking, 16 callers"),
        plot_title="16 callers: calls a second",
        how="16 callers, each on a connection of its own, call again as soon as they have the answer.",
        columns={"name": "", "server": "", "per_second": "calls/s", "server_us": "server us", "postgres_us": "PostgreSQL us", "p50_ms": "p50 ms",
                 "p99_ms": "p99 ms", "rate_to_first": "rate of first", "cpu_to_first": "CPU of first"},
    ),
    Section(
        file="overload.json", title="Overload",
        how="The peak is the rate of 16 callers. Then three times as many calls begin by the clock, with deadlines of 1 s, whatever has"
        " become of those before; times run from when a call was due. How late calls began says how good the client was.",
        columns={"name": "", "peak_per_s": "peak/s", "offered_per_s": "offered/s", "good_per_s": "good/s", "refused_per_s": "refused/s",
                 "expired_per_s": "expired/s", "p50_ms": "p50 ms", "p99_ms": "p99 ms", "refused_p50_ms": "refused p50 ms",
                 "refused_p99_ms": "refused p99 ms", "late_p99_ms": "late p99 ms", "client_cores": "client's cores"},
    ),
)  # fmt: skip


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns what the benches left, by file."""
    files = [folder / each.file for each in SECTIONS]
    return {file.name: json.loads(file.read_text()) for file in files if file.exists()}


def page(found: Mapping[str, Mapping[str, Any]], drawn: Sequence[str]) -> str:
    """Returns the page. `drawn` are the names of the plots that there are."""
    parts = [INTRODUCTION, "\n".join(_missed(found))]
    for each in SECTIONS:
        if each.file in found:
            parts += _section(each, found[each.file], drawn)
        else:
            parts.append(f"## {each.title}\n\nNot measured yet.")
    return "\n\n".join(parts) + "\n"


def plots(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns what is drawn, by name of file."""
    shown = (each for each in SECTIONS if each.plotted and each.file in found)
    return {_plot_name(each): _plot(each, found[each.file]["rows"]) for each in shown}


def _missed(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    judged = [(section, each) for section in SECTIONS for each in found.get(section.file, {}).get("targets", ())]
    limited = [(section, each) for section, each in judged if each["limit"] is not None]
    missed = [(section, each) for section, each in limited if each["met"] is False]
    unmeasured = sum(each["met"] is None for _, each in limited)
    yield f"Of {len(limited)} targets {len(missed)} are missed" + (f" and {unmeasured} not measured." if unmeasured else ".")
    if missed:
        yield "\n| missed | figure | limit |\n| --- | ---: | --- |"
    for section, each in missed:
        yield f"| {section.title}: {each['what']} | {_figure(each)} | {bound(each['limit'], at_least=each['at_least'])} |"


def _section(section: Section, seen: Mapping[str, Any], drawn: Sequence[str]) -> list[str]:
    parts = [f"## {section.title}", section.how, _settings(seen)]
    parts += [f"{sentence}" for sentence in seen["absent"]]
    if _plot_name(section) in drawn:
        parts.append(f"![{section.plot_title}]({_plot_name(section)})")
    parts += ["\n".join(_targets(seen.get("targets", ()))), "\n".join(_rows(section, seen["rows"]))]
    counted = [
        f"{row['name']}: {count:,} times {reason}." for row in seen["rows"] for reason, count in row.get("failures", {}).items()
    ]
    return [*parts, "Calls that failed: " + " ".join(counted)] if counted else parts


def _settings(seen: Mapping[str, Any]) -> str:
    versions = [
        f"PostgreSQL {seen['postgres']}",
        f"Python {seen['python']}",
        *(f"{name} {of}" for name, of in seen["versions"].items()),
    ]
    versions += [str(seen["go"])] if seen["go"] else []
    machine = f"{seen['cores']} cores ({seen['processor'] or seen['machine']}), {seen['memory_gib']} GiB, {seen['system']}"
    amounts = [f"{seen['bookings']:,} bookings"]
    amounts += [f"{name} {said(seen[name])}" for name in ("rounds", "seconds", "overload", "idle") if name in seen]
    trial = any(name in seen and seen[name] < least for name, least in WHOLE.items())
    warning = " **This was a short trial: its figures only show that the bench runs.**" if trial else ""
    return f"Measured on {seen['date']}: {', '.join(amounts)}; {machine}; {', '.join(versions)}.{warning}"


def _targets(judged: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| what | figure | limit | |\n| --- | ---: | --- | --- |"
    for each in judged:
        limit = bound(each["limit"], at_least=each["at_least"])
        met = "not measured" if each["limit"] is not None and each["met"] is None else verdict(each["met"])
        yield f"| {each['what']} | {_figure(each)} | {limit} | {f'**{met}**' if each['met'] is False else met} |"


def _figure(each: Mapping[str, Any]) -> str:
    return f"{said(each['value'])} {each['unit']}".strip()


def _rows(section: Section, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"| {' | '.join(section.columns.values())} |"
    yield f"| {' | '.join('---:' if heading else '---' for heading in section.columns.values())} |"
    for row in rows:
        yield f"| {' | '.join(_cell(row[field]) for field in section.columns)} |"


def _cell(value: str | float | None) -> str:
    if isinstance(value, str):
        return value
    return said(None if value is None or math.isnan(value) else value)


def _plot_name(section: Section) -> str:
    return f"performance-{section.title.lower()}.svg"


def _plot(section: Section, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One work: a bar for each server. Several: bars of each server beside each other."""
    values = {(row["name"], row["server"]): row[section.field] for row in rows if row["name"] in section.plotted}
    servers = list(dict.fromkeys(server for _, server in values))
    works = [work for work in section.plotted if any((work, server) in values for server in servers)]
    if len(works) == 1:
        series = {works[0]: [values[works[0], server] for server in reversed(servers)]}
        return {"title": section.plot_title, "labels": servers[::-1], "series": series}
    series = {server: [values.get((work, server)) for work in reversed(works)] for server in servers}
    return {"title": section.plot_title, "labels": works[::-1], "series": series}


def draw(wanted: Mapping[str, Any], folder: Path) -> list[str]:
    """Draws plots into a folder; returns their names. Raises Absent where the library cannot be installed."""
    named = {str(folder / name): plot for name, plot in wanted.items()}
    subprocess.run([install_fastapi(), PLOT], input=json.dumps(named), text=True, check=True, timeout=PLOT_SECONDS)
    return list(wanted)


def main() -> None:
    """Writes the page anew; plots that cannot be drawn are left out, and their library is named."""
    found = read(FOUND)
    drawn: list[str] = []
    try:
        drawn = draw(plots(found), PAGE.parent)
    except Absent as absent:
        sys.stderr.write(f"The plots are left out, for want of requirements/bench.lock. {absent}\n")
    PAGE.write_text(page(found, drawn))
    sys.stdout.write(f"{PAGE.relative_to(ROOT)} shows it\n")


if __name__ == "__main__":
    main()
