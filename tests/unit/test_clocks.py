"""What is believed of an owner's clock."""

from datetime import UTC, datetime, timedelta

from clocks import SKEW_SECONDS, Claims

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
AHEAD = NOON + timedelta(hours=1)


def test_a_time_up_to_the_skew_ahead_is_believed_and_so_is_any_of_the_past() -> None:
    claims = Claims(lambda: NOON)
    for said in (NOON - timedelta(days=1), NOON, NOON, NOON + timedelta(seconds=SKEW_SECONDS)):
        assert claims.credible(said) == said


def test_a_clock_that_is_ahead_says_at_most_that_it_is_now_and_only_while_it_goes() -> None:
    claims = Claims(lambda: NOON)
    assert [claims.credible(said) for said in (AHEAD, AHEAD + timedelta(seconds=1), AHEAD + timedelta(seconds=1))] == [
        NOON,
        NOON,
        None,
    ]
    assert claims.credible(NOON) == NOON
