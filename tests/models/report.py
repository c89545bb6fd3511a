"""What the searches find, in words and tables."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from tests.models.checker import Found, dead_end, explore
from tests.models.feed_order import Cursor, Feed
from tests.models.protocol import Protocol
from tests.models.rules import Rules, Scenario
from tests.models.scenarios import LONG, RESIDUAL, SCENARIOS
from tests.models.state import State
from tests.models.variations import AS_WRITTEN, MENDED, WRITTEN, Variation

STATES_MAX = 1_500_000
HELPFUL_STEPS_MAX = 200
FEEDS = {
    "positions, given out by a relay": Feed(cursor=Cursor.POSITION),
    "positions, one event at a time": Feed(cursor=Cursor.POSITION, batch=1),
    "positions, three writers of one entity": Feed(cursor=Cursor.POSITION, entities=("X", "X", "X")),
    "positions, one event at a time, but rounds without an end": Feed(cursor=Cursor.POSITION, batch=1, rounds_end=False),
    "positions, but events inserted before the lock": Feed(cursor=Cursor.POSITION, lock_first=False),
    "the sequence of the outbox": Feed(cursor=Cursor.SEQUENCE),
    "transaction ID and sequence, below the horizon": Feed(cursor=Cursor.TRANSACTION),
}
FEEDS_THAT_HOLD = tuple(name for name in FEEDS if name.startswith("positions, ") and "but " not in name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of one search."""

    states: int
    broken: str | None
    trace: tuple[str, ...]
    seconds: float


@cache
def search(rules: Rules, scenario: Scenario) -> Outcome:
    """All states of the protocol, and then, where none is broken, whether a purge can end from each."""
    model, begun = Protocol(rules=rules, scenario=scenario), time.perf_counter()
    found: Found[State] = explore(model, limit=STATES_MAX)
    if not found.broken:
        found = dead_end(model, found.reached, limit=HELPFUL_STEPS_MAX) or found
    return Outcome(states=found.states, broken=found.broken, trace=found.trace, seconds=time.perf_counter() - begun)


@cache
def search_feed(feed: Feed) -> Outcome:
    """All states of the feed."""
    begun = time.perf_counter()
    found = explore(feed, limit=STATES_MAX)
    return Outcome(states=found.states, broken=found.broken, trace=found.trace, seconds=time.perf_counter() - begun)


def residual() -> Outcome:
    """What no rule of this protocol prevents."""
    return search(Rules(), RESIDUAL)


def bounds(scenario: Scenario) -> str:
    """What may happen in a scenario, in short."""
    faults = [word for word, may in _faults(scenario) if may]
    return f"{' and '.join(scenario.kinds)}, {scenario.changes}" + "".join(f", {fault}" for fault in faults)


def _faults(scenario: Scenario) -> Iterator[tuple[str, bool]]:
    deposed = [name for name in ("undeletes", "checks", "heads", "feed", "copies") if getattr(scenario.deposed, name)]
    yield "rows unknown at first", not scenario.known
    yield "OPEN rows deleted", scenario.forget
    yield "a newcomer", scenario.newcomer
    yield "a failover", bool(scenario.failovers)
    yield "relay lags", scenario.lag
    yield f"a past of {len(scenario.history) - 1} changes", len(scenario.history) > 1
    yield f"a deposed owner ({', '.join(deposed)})", bool(deposed)
    yield "a restore", bool(scenario.restores)
    yield "two processes", scenario.processes
    yield "REPEATABLE READ", scenario.snapshots


def scenario_lines(scenarios: dict[str, Scenario]) -> Iterator[tuple[str, str]]:
    """Rows of a table, and, apart, what depends on the machine."""
    for name, scenario in scenarios.items():
        outcome = search(Rules(), scenario)
        yield f"| {name} | {bounds(scenario)} | {outcome.states:,} | {outcome.broken or 'holds'} |", f" {outcome.seconds:.1f} |"


def written_lines() -> Iterator[str]:
    """How the rules as the design has them fare, where the searches are short."""
    for name, scenario in SCENARIOS.items():
        outcome = search(WRITTEN, replace(scenario, agreement=False))
        yield f"| {name} | {outcome.broken or 'holds'} |"


def trace_lines(outcome: Outcome) -> Iterator[str]:
    """A trace as a list."""
    for number, label in enumerate(outcome.trace, start=1):
        yield f"{number}. {label}"
    yield f"\n**{outcome.broken}.**"


def variation_lines(variation: Variation) -> Iterator[str]:
    """What happens without a rule."""
    outcome = search(variation.rules, variation.scenario)
    left_out = ", ".join(f"{name}={getattr(value, 'name', value)}" for name, value in variation.without.items())
    yield f"### Rule {variation.rule}: {variation.says}\n"
    yield f"`{left_out}` in *{variation.where}*:\n"
    yield from trace_lines(outcome)
    yield ""


def feed_lines() -> Iterator[str]:
    """The feed's variants."""
    for name, feed in FEEDS.items():
        outcome = search_feed(feed)
        yield f"| {name} | {outcome.states:,} | {outcome.broken or 'holds'} |"


def report() -> Iterator[str]:
    """All of it, as the second half of the README."""
    header = (
        "| scenario | columns of each referrer, changes, what may happen | states | | seconds |\n| --- | --- | --- | --- | --- |"
    )
    yield f"## Scenarios, with all rules\n\n{header}"
    for line, seconds in scenario_lines(SCENARIOS):
        yield line + seconds
    yield f"\nLonger ones (`-m long`):\n\n{header}"
    for line, seconds in scenario_lines(LONG):
        yield line + seconds
    yield "\n## The rules without what this model added\n\n| scenario | |\n| --- | --- |"
    yield from written_lines()
    yield "\n## The residual\n"
    yield from trace_lines(residual())
    yield "\n## Without a rule that the design has\n"
    for variation in AS_WRITTEN:
        yield from variation_lines(variation)
    yield "## Without a rule that this model added\n"
    for variation in MENDED:
        yield from variation_lines(variation)
    yield "## The order of the feed\n\n| cursor | states | |\n| --- | --- | --- |"
    yield from feed_lines()
    for name in [name for name in FEEDS if name not in FEEDS_THAT_HOLD]:
        yield f"\n### {name}\n"
        yield from trace_lines(search_feed(FEEDS[name]))
