"""What is believed of an owner's clock."""

from datetime import UTC, datetime, timedelta

import pytest

from clocks import SKEW_SECONDS, Completeness

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
AHEAD = NOON + timedelta(hours=1)
SECOND = timedelta(seconds=1)


class Clock:
    """The clock here."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_nothing_is_stale_and_so_is_what_was_said_too_long_ago(clock: Clock) -> None:
    feed = Completeness(clock)
    assert feed.stale(30)
    feed.hear(NOON)
    clock.time = NOON + 30 * SECOND
    assert not feed.stale(30)
    clock.time += SECOND
    assert feed.stale(30)


def test_a_time_up_to_the_skew_ahead_is_believed_and_so_is_any_of_the_past(clock: Clock) -> None:
    feed = Completeness(clock)
    for said in (NOON, NOON + SKEW_SECONDS * SECOND, NOON - timedelta(days=1)):
        feed.hear(said)
        assert feed.until == said


def test_a_clock_that_is_ahead_says_at_most_that_it_is_now_and_only_while_it_goes(clock: Clock) -> None:
    feed = Completeness(clock)
    feed.hear(AHEAD)
    assert feed.until is None, "it may have stood still for long"
    feed.hear(AHEAD + SECOND)
    assert feed.until == NOON
    clock.time = NOON + 31 * SECOND
    feed.hear(AHEAD + SECOND)
    assert feed.stale(30)
    feed.hear(clock.time)
    assert not feed.stale(30)


def test_what_was_believed_of_a_clock_that_both_were_wrong_with_is_stale_once_this_one_is_set_back(clock: Clock) -> None:
    feed = Completeness(clock)
    clock.time = AHEAD
    feed.hear(AHEAD)
    clock.time = NOON
    assert feed.stale(30)
    feed.hear(NOON)
    assert not feed.stale(30)
