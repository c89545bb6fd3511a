"""What the design asks of figures, and whether they meet it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from tests.bench.peers.raw import Measured

Place = tuple[str, str]
"""A work, and the server that does it."""
Found = Mapping[Place, Sequence[Measured]]
"""Round by round, so that two of the same position saw the same neighbours on the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A figure beside its limit."""

    what: str
    value: float | None
    """None where it could not be measured: a peer is absent."""
    unit: str = ""
    limit: float | None = None
    """None where the design has none, and the figure is for comparison."""
    at_least: bool = False
    """Whether the limit is the least, and not the most, that the value may be."""

    @property
    def met(self) -> bool | None:
        """Returns None where there is nothing to compare."""
        if self.limit is None or self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def as_json(self) -> dict[str, Any]:
        """Returns the fields, and whether the limit is met."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A limit for what rounds come to: a median, or the median of ratios that are taken within each round."""

    what: str
    figure: str
    """A name in `FIGURES`."""
    of: Place
    to: Place | None = None
    """Makes it a ratio to the same figure there."""
    unit: str = ""
    limit: float | None = None
    at_least: bool = False


FIGURES = {
    "calls": lambda seen: seen.per_second,
    "rows": lambda seen: seen.rows_per_second,
    "us a call": lambda seen: seen.cpu_us("server"),
    "us a row": lambda seen: seen.cpu_us("server", a_row=True),
    "p50": lambda seen: seen.p50_ms,
    "p99": lambda seen: seen.p99_ms,
}


def judge(targets: Sequence[Target], found: Found) -> list[Judged]:
    """Compares what was found with the targets."""
    return [
        Judged(what=each.what, value=_value(each, found), unit=each.unit, limit=each.limit, at_least=each.at_least)
        for each in targets
    ]


def ratio(figure: str, of: Sequence[Measured], to: Sequence[Measured]) -> float | None:
    """Returns the median of ratios within rounds. None where the kernel counted no time at all."""
    pairs = [(FIGURES[figure](one), FIGURES[figure](other)) for one, other in zip(of, to, strict=True)]
    return median(one / other for one, other in pairs) if all(other for _, other in pairs) else None


def _value(target: Target, found: Found) -> float | None:
    if target.of not in found or (target.to is not None and target.to not in found):
        return None
    if target.to is not None:
        return ratio(target.figure, found[target.of], found[target.to])
    return float(median(FIGURES[target.figure](seen) for seen in found[target.of]))


def said(value: float | None) -> str:
    """Returns a figure as people read it: three digits, or all before the point."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # three digits


def verdict(met: bool | None) -> str:  # noqa: FBT001  # the only thing that it is about
    """Returns a word."""
    return {True: "met", False: "MISSED", None: ""}[met]


def bound(limit: float | None, *, at_least: bool) -> str:
    """Returns a limit as people read it."""
    return "" if limit is None else f"{'at least' if at_least else 'at most'} {said(limit)}"


def show(console: Console, title: str, judged: Sequence[Judged]) -> None:
    """Prints figures beside their limits."""
    table = Table("", Column("figure", justify="right"), "", "limit", "", title=title)
    for each in judged:
        table.add_row(each.what, said(each.value), each.unit, bound(each.limit, at_least=each.at_least), verdict(each.met))
    console.print(table)
