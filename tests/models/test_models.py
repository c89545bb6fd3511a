"""The rules hold in every scenario, and each of them is needed: without it the search finds a trace."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.models.checker import TooManyStates, explore
from tests.models.protocol import Protocol
from tests.models.report import (
    FEEDS,
    FEEDS_THAT_HOLD,
    Outcome,
    feed_lines,
    residual,
    scenario_lines,
    search,
    search_feed,
    trace_lines,
    variation_lines,
    written_lines,
)
from tests.models.rules import Rules, Scenario, Step2
from tests.models.scenarios import LONG, SCENARIOS
from tests.models.variations import AS_WRITTEN, ENDS, MENDED, WRITTEN, Variation

README = Path(__file__).with_name("README.md")
VARIATIONS = [
    pytest.param(one, id=f"{one.rule}: {one.says}", marks=pytest.mark.long if one.where in LONG else ())
    for one in (*AS_WRITTEN, *MENDED)
]
WRITTEN_HOLD = ("one referrer", "misses", "two referrers", "repeatable read", "restored", "restored, misses")


def told(outcome: Outcome) -> str:
    return "\n".join(trace_lines(outcome))


def in_order(parts: Iterable[str], trace: Iterable[str]) -> bool:
    """Whether the parts are found in steps that follow one another."""
    steps = iter(trace)
    return all(any(part in step for step in steps) for part in parts)


@pytest.mark.parametrize("name", SCENARIOS)
def test_with_all_rules_nothing_is_broken_and_no_purge_is_stuck(name: str) -> None:
    outcome = search(Rules(), SCENARIOS[name])
    assert outcome.broken is None, told(outcome)


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
def test_with_all_rules_nothing_is_broken_in_the_long_run(name: str) -> None:
    outcome = search(Rules(), LONG[name])
    assert outcome.broken is None, told(outcome)


@pytest.mark.parametrize("name", WRITTEN_HOLD)
def test_the_rules_as_the_design_has_them_keep_what_is_referred_to_without_a_failover(name: str) -> None:
    outcome = search(WRITTEN, replace(SCENARIOS[name], agreement=False))
    assert outcome.broken in (None, ENDS["never"]), told(outcome)


@pytest.mark.parametrize("variation", VARIATIONS)
def test_without_a_rule_there_is_a_trace(variation: Variation) -> None:
    outcome = search(variation.rules, variation.scenario)
    print("\n".join(variation_lines(variation)))  # noqa: T201  # what the test is for: pytest -s shows it
    assert outcome.broken is not None
    assert ENDS[variation.ends] in outcome.broken, told(outcome)
    assert in_order(variation.steps, outcome.trace), told(outcome)


def test_at_read_committed_it_is_enough_to_wait_and_the_changed_key_column_is_for_older_snapshots() -> None:
    assert search(Rules(step2=Step2.WAIT), SCENARIOS["one referrer"]).broken is None


def test_what_a_deposed_owner_tells_a_restored_referrer_is_not_prevented() -> None:
    outcome = residual()
    assert outcome.broken is not None
    steps = (
        "FAILOVER",
        "a backup is made",
        "counts 0",
        "PURGING",
        "RESTORED",
        "hears from the deposed owner",
        "is ready",
        "commits",
    )
    assert in_order(steps, outcome.trace), told(outcome)


def test_after_a_failover_a_stale_row_stays_open_until_the_next_event_unless_every_new_epoch_resynchronises() -> None:
    scenario = replace(SCENARIOS["failover, misses"], strict=True)
    outcome = search(Rules(), scenario)
    assert outcome.broken is not None
    assert in_order(("answered OPEN, version 2", "FAILOVER", "stores the answer, OPEN", "follows into epoch 1"), outcome.trace)
    assert search(Rules(epoch_resyncs=True), scenario).broken is None


@pytest.mark.parametrize("name", FEEDS)
def test_only_positions_that_a_relay_gives_out_keep_every_event_in_order(name: str) -> None:
    outcome = search_feed(FEEDS[name])
    assert (outcome.broken is None) == (name in FEEDS_THAT_HOLD), told(outcome)


def test_a_cursor_by_sequence_loses_and_one_by_transaction_reorders() -> None:
    assert "is never read: the cursor is past it" in (search_feed(FEEDS["the sequence of the outbox"]).broken or "")
    late = "positions, one event at a time, but rounds without an end"
    for name in ("transaction ID and sequence, below the horizon", "positions, but events inserted before the lock", late):
        assert "version 1 of X is read after version 2" in (search_feed(FEEDS[name]).broken or "")


def test_a_search_that_is_cut_short_shows_nothing() -> None:
    with pytest.raises(TooManyStates):
        explore(Protocol(rules=Rules(), scenario=Scenario()), limit=100)


@pytest.mark.long
def test_the_readme_says_what_the_models_find() -> None:
    readme = README.read_text()
    lines = [line for line, _ in scenario_lines(SCENARIOS)] + list(feed_lines()) + list(written_lines()) + [told(residual())]
    for variation in (*AS_WRITTEN, *MENDED):
        if variation.where not in LONG:
            lines += variation_lines(variation)
    missing = [line for line in lines if line not in readme]
    assert not missing, "\n".join(["python -m tests.models prints what README.md has to say:", *missing])
