"""What is owed for a booking, and what may be taken for it."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults import Code
from payments.domain import Account, CurrencyMismatch, Kind, Method, NewPayment, Overpaid, State, receive, record

STATION, BOOKING, CUSTOMER, PAYMENT, USER = (UUID(int=number) for number in range(1, 6))
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
AMOUNTS = st.integers(min_value=1, max_value=100_000_000_000)
OWING = [Kind.DEPOSIT, Kind.BALANCE, Kind.FULL]


def account(*, total_minor: int = 55_000, captured_minor: int = 0, refunded_minor: int = 0) -> Account:
    return Account(
        booking_id=BOOKING,
        station_id=STATION,
        customer_id=CUSTOMER,
        currency_code="EUR",
        total_minor=total_minor,
        captured_minor=captured_minor,
        refunded_minor=refunded_minor,
        gratuity_minor=0,
        version=0,
    )


def wanted(amount_minor: int, *, kind: Kind = Kind.DEPOSIT, currency_code: str = "EUR") -> NewPayment:
    return NewPayment(
        station_id=STATION,
        booking_id=BOOKING,
        kind=kind,
        method=Method.CASH,
        amount_minor=amount_minor,
        currency_code=currency_code,
    )


@pytest.mark.parametrize("kind", OWING)
def test_what_is_taken_is_captured_and_no_longer_owed(kind: Kind) -> None:
    after = receive(account(), wanted(10_000, kind=kind))
    assert (after.captured_minor, after.owed_minor, after.version) == (10_000, 45_000, 1)


@pytest.mark.parametrize("kind", OWING)
def test_all_that_is_owed_can_be_taken_and_not_a_unit_more(kind: Kind) -> None:
    present = account(captured_minor=20_000)
    assert receive(present, wanted(35_000, kind=kind)).owed_minor == 0
    with pytest.raises(Overpaid) as refusal:
        receive(present, wanted(35_001, kind=kind))
    assert refusal.value.metadata == {"owed_minor": "35000"}
    assert (refusal.value.code, refusal.value.reason, refusal.value.definite) == (Code.FAILED_PRECONDITION, "OVERPAID", True)


def test_what_was_refunded_is_owed_again() -> None:
    assert receive(account(captured_minor=55_000, refunded_minor=5_000), wanted(5_000)).owed_minor == 0


def test_nothing_is_owed_where_the_total_was_lowered_below_what_is_paid() -> None:
    present = account(total_minor=10_000, captured_minor=20_000)
    assert present.owed_minor == 0
    with pytest.raises(Overpaid):
        receive(present, wanted(1))


def test_a_gratuity_stands_outside_of_what_is_owed() -> None:
    paid_up = account(captured_minor=55_000)
    after = receive(paid_up, wanted(1_000_000, kind=Kind.GRATUITY))
    assert after == replace(paid_up, gratuity_minor=1_000_000, version=1)


@pytest.mark.parametrize("kind", list(Kind))
def test_another_currency_than_the_bookings_is_refused_and_the_right_one_named(kind: Kind) -> None:
    with pytest.raises(CurrencyMismatch) as refusal:
        receive(account(), wanted(100, kind=kind, currency_code="USD"))
    assert (refusal.value.code, refusal.value.reason, refusal.value.common) == (Code.INVALID_ARGUMENT, "CURRENCY_MISMATCH", False)
    assert (list(refusal.value.fields), refusal.value.metadata) == (["currency_code"], {"currency_code": "EUR"})


@given(total=st.integers(min_value=0, max_value=200_000), payments=st.lists(st.tuples(st.sampled_from(Kind), AMOUNTS), max_size=30))
def test_no_sequence_of_payments_takes_more_than_the_total_nor_refuses_what_is_owed(
    total: int, payments: list[tuple[Kind, int]]
) -> None:
    present, gratuities = account(total_minor=total), 0
    for number, (kind, large) in enumerate(payments):
        amount = large % 70_000 + 1
        owed = present.owed_minor
        try:
            present = receive(present, wanted(amount, kind=kind))
        except Overpaid:
            assert kind is not Kind.GRATUITY
            assert amount > owed
        else:
            assert amount <= owed or kind is Kind.GRATUITY
            gratuities += amount if kind is Kind.GRATUITY else 0
        assert present.version <= number + 1
    assert present.captured_minor <= total
    assert present.captured_minor + present.owed_minor == total
    assert present.gratuity_minor == gratuities


def test_cash_is_captured_at_once_for_the_bookings_customer() -> None:
    payment = record(wanted(100), account(), payment_id=PAYMENT, created_by=USER, created_by_name="Ann", now=NOW)
    assert (payment.state, payment.customer_id, payment.version) == (State.CAPTURED, CUSTOMER, 1)
    assert (payment.payment_id, payment.created_by, payment.created_by_name) == (PAYMENT, USER, "Ann")
    assert payment.create_time == payment.update_time == NOW


@given(
    captured_minor=st.integers(0, 10**11), refunded=st.integers(0, 10_000), share=st.none() | st.integers(0, 10_000),
)  # fmt: skip
def test_what_is_due_is_the_share_of_what_was_captured_less_what_was_given_back(
    captured_minor: int, refunded: int, share: int | None
) -> None:
    before = account(captured_minor=captured_minor, refunded_minor=captured_minor * refunded // 10_000)
    due = replace(before, refund_basis_points=share).refund_due_minor
    assert 0 <= due <= captured_minor - before.refunded_minor
    exact = Decimal(captured_minor) * (share or 0) / 10_000
    assert due == max(0, int(exact.quantize(Decimal(1), ROUND_HALF_UP)) - before.refunded_minor)
