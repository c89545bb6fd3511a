"""What becomes of a booking by what is paid for it, and by what is not."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookings.domain.bookings import REFUND_ALL, BookingState, State, expire, paid
from tests.unit.test_bookings_domain import MOMENT, NOW, booking

AMOUNTS = st.integers(min_value=0, max_value=200_000)


@given(state=st.sampled_from(State), before=AMOUNTS, paid_minor=AMOUNTS, final=st.booleans())
def test_what_is_paid_is_a_fact_in_every_state_and_decides_only_what_waits(
    state: State, before: int, paid_minor: int, *, final: bool
) -> None:
    present = replace(booking(), state=state, paid_minor=before)
    after = paid(present, paid_minor, final=final, now=NOW)
    confirmed = paid_minor >= 10_000 and (state is State.PENDING or (state is State.EXPIRING and final))
    expired = paid_minor < 10_000 and state is State.EXPIRING and final
    assert after.paid_minor == paid_minor
    assert after.state is (State.CONFIRMED if confirmed else State.EXPIRED if expired else state)
    assert (after.confirm_time == NOW, after.refund_basis_points == REFUND_ALL) == (confirmed, expired)
    assert after.version == (1 if after is present else 2)


@pytest.mark.parametrize("state", set(State) - {State.PENDING, State.EXPIRING})
def test_no_news_of_what_is_paid_changes_nothing_or_two_services_would_tell_each_other_for_ever(state: State) -> None:
    present = replace(booking(), state=state, paid_minor=10_000)
    assert paid(present, 10_000, final=True, now=NOW) is present


@pytest.mark.parametrize("state", State)
def test_only_what_waits_for_its_deposit_expires_and_payments_may_be_asked_again(state: State) -> None:
    present, later = replace(booking(), state=state, expiring_time=NOW - MOMENT), NOW + timedelta(minutes=1)
    if state is State.PENDING:
        asked = expire(present, later)
        assert (asked.state, asked.version, asked.expiring_time) == (State.EXPIRING, 2, later)
    elif state is State.EXPIRING:
        asked = expire(present, later)
        assert (asked.state, asked.version, asked.expiring_time) == (State.EXPIRING, 2, NOW - MOMENT)
    else:
        with pytest.raises(BookingState):
            expire(present, later)
