"""What a bench has seen: rates and the server's time, round by round; medians and ratios of them, as a table and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

from rich.console import Console
from rich.table import Column, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Of one variant in one round."""

    per_second: float
    cpu_us: float
    """Of the server, for each transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A row of the table: what a variant's rounds come to."""

    scenario: str
    variant: str
    per_second: float
    cpu_us: float
    times_as_many: float
    """What goes through without what is priced, in the same round, for one that goes through here."""
    quartiles: tuple[float, float]
    """Of `times_as_many`: half of the rounds lie between."""
    times_the_cpu: float | None
    """The server's time for one here, for its time without what is priced; None where that is less than the kernel counts."""
    limit: float | None
    """Of `times_as_many`, where the design has one."""


Rounds = Mapping[str, Sequence[Seen]]
"""By variant; round by round, so that two of the same place saw the same neighbours on the machine."""


def figures(scenario: str, rounds: Rounds, *, base: str, limits: Mapping[str, float]) -> list[Figure]:
    """The rows of one scenario.

    Ratios of rates are taken within each round; their median is not the ratio of the medians. The CPU is counted by
    the kernel in steps, so there the mean says more than the median.
    """
    return [_figure(scenario, variant, seen, rounds[base], limits.get(variant)) for variant, seen in rounds.items()]


def _figure(scenario: str, variant: str, seen: Sequence[Seen], base: Sequence[Seen], limit: float | None) -> Figure:
    ratios = [without.per_second / one.per_second for without, one in zip(base, seen, strict=True)]
    low, middle, high = quantiles(ratios, n=4, method="inclusive")
    cpu_us, least = mean(one.cpu_us for one in seen), mean(one.cpu_us for one in base)
    return Figure(
        scenario=scenario,
        variant=variant,
        per_second=median(one.per_second for one in seen),
        cpu_us=cpu_us,
        times_as_many=middle,
        quartiles=(low, high),
        times_the_cpu=cpu_us / least if least else None,
        limit=limit,
    )


def show(console: Console, title: str, rows: Sequence[Figure]) -> None:
    """Prints them as a table."""
    numbers = ("a second", "times as many without", "quartiles", "limit", "server's CPU", "times the CPU")
    table = Table("", "", *(Column(name, justify="right") for name in numbers), title=title)
    for row in rows:
        limit = "" if row.limit is None else f"{row.limit:.2f}"
        over = " over" if row.limit is not None and row.times_as_many > row.limit else ""
        low, high = row.quartiles
        table.add_row(
            row.scenario, row.variant, f"{row.per_second:,.0f}", f"{row.times_as_many:.2f}", f"{low:.2f} to {high:.2f}",
            limit + over, f"{row.cpu_us:,.0f} us", "-" if row.times_the_cpu is None else f"{row.times_the_cpu:.2f}",
        )  # fmt: skip
    console.print(table)


def write(file: Path, about: Mapping[str, Any], rows: Sequence[Figure], rounds: Mapping[str, Rounds]) -> None:
    """Writes figures and every round behind them as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    seen = {
        scenario: {variant: [[one.per_second, one.cpu_us] for one in seen] for variant, seen in variants.items()}
        for scenario, variants in rounds.items()
    }
    shown = [{name: getattr(row, name) for name in Figure.__slots__} for row in rows]
    text = json.dumps({**about, "figures": shown, "rounds": seen}, indent=2)
    file.write_text(f"{text}\n")
