"""Payments on the wire, and what payments reads of other services."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from teppan.bookings.v1 import bookings_pb2
from teppan.identity.v1 import stations_pb2
from teppan.payments.v1 import payments_pb2 as pb

from faults import InvalidArgument, PageTokenInvalid
from pages import PAGE_BYTES_MAX, Page, Tokens
from payments.domain import Account, Kind, Method, NewPayment, Payment, State
from payments.store import keyset
from payments.tables import SCHEMA
from payments.wire import heard
from payments.wire.listing import list_query_from_pb, page_to_pb, pager_of
from payments.wire.payments import account_event_to_pb, new_payment_from_pb, payment_event_to_pb, payment_to_pb
from rpccommon.shape import validate

STATION, BOOKING, CUSTOMER, PAYMENT, REQUEST = (UUID(int=number) for number in range(1, 6))
NOW = datetime(2026, 5, 4, 12, 30, 15, 123456, tzinfo=UTC)
TOKENS = Tokens(b"k" * 32, lambda: NOW)


def payment(number: int = 0, **fields: Any) -> Payment:
    made = {
        "payment_id": UUID(int=1_000 + number),
        "station_id": STATION,
        "booking_id": BOOKING,
        "customer_id": CUSTOMER,
        "kind": Kind.DEPOSIT,
        "method": Method.CASH,
        "state": State.CAPTURED,
        "amount_minor": 10_000,
        "currency_code": "EUR",
        "created_by": None,
        "created_by_name": "Ann Example",
        "create_time": NOW + timedelta(seconds=number),
        "update_time": NOW + timedelta(seconds=number),
    }
    return Payment(**{**made, **fields})


def row(payment: Payment) -> dict[str, Any]:
    """As the store gives it."""
    names = (column.name for column in SCHEMA.metadata.tables["payments.payments"].columns)
    return {name: payment.payment_id if name == "id" else getattr(payment, name) for name in names}


def request(**fields: Any) -> pb.CreatePaymentRequest:
    made = {
        "request_id": str(REQUEST),
        "station_id": str(STATION),
        "booking_id": str(BOOKING),
        "kind": pb.PAYMENT_KIND_DEPOSIT,
        "method": pb.PAYMENT_METHOD_CASH,
        "amount_minor": 10_000,
        "currency_code": "EUR",
    }
    return pb.CreatePaymentRequest(**{**made, **fields})


def packed(message: Message) -> AnyMessage:
    wrapper = AnyMessage()
    wrapper.Pack(message)
    return wrapper


@pytest.mark.parametrize(("enum", "values"), [(Kind, pb.PaymentKind), (Method, pb.PaymentMethod), (State, pb.PaymentState)])
def test_the_domain_numbers_kinds_methods_and_states_as_the_contract_does(enum: Any, values: Any) -> None:
    ours = {member.name: member.value for member in enum}
    theirs = {name.split("_", 2)[2]: number for name, number in values.items() if number}
    assert ours == theirs


@given(kind=st.sampled_from(Kind), amount=st.integers(min_value=1, max_value=100_000_000_000))
def test_what_is_asked_for_arrives_as_it_was_sent(kind: Kind, amount: int) -> None:
    message = request(kind=kind.value, amount_minor=amount)
    validate(message)
    assert new_payment_from_pb(message) == NewPayment(
        station_id=STATION, booking_id=BOOKING, kind=kind, method=Method.CASH, amount_minor=amount, currency_code="EUR"
    )


def test_every_bad_field_of_a_payment_is_named_at_once() -> None:
    bad = request(request_id="1", station_id="2", booking_id="", kind=17, method=0, amount_minor=0, currency_code="euro")
    with pytest.raises(InvalidArgument) as refusal:
        validate(bad)
    assert set(refusal.value.fields) == {field.name for field in bad.DESCRIPTOR.fields}


def test_a_payment_shows_everything_but_who_recorded_it() -> None:
    message = payment_to_pb(payment(version=7))
    assert {field.name for field, _ in message.ListFields()} == {field.name for field in message.DESCRIPTOR.fields}
    assert (message.etag, message.amount_minor, message.currency_code) == ("7", 10_000, "EUR")
    assert message.create_time.ToDatetime(UTC) == NOW
    assert b"Ann" not in payment_event_to_pb(payment())


async def test_a_listed_payment_is_the_payment() -> None:
    asked = pb.ListPaymentsRequest(station_id=str(STATION))
    pager = pager_of(asked, TOKENS)
    read = {name.strip() for name in keyset(list_query_from_pb(asked, pager)).columns.split(",")}
    listed = {name: value for name, value in row(payment()).items() if name in read}
    (message,) = [each async for each in page_to_pb(Page(rows=[listed], next=None), pager)]
    assert list(message.payments) == [payment_to_pb(payment())]
    assert not message.next_page_token


def test_an_accounts_event_says_what_was_paid_what_is_due_and_by_what_it_was_closed() -> None:
    account = Account(
        booking_id=BOOKING, station_id=STATION, customer_id=CUSTOMER, currency_code="EUR", total_minor=5, captured_minor=4,
        refunded_minor=3, gratuity_minor=2, version=1,
    )  # fmt: skip
    message = pb.Account()
    assert AnyMessage.FromString(account_event_to_pb(account)).Unpack(message)
    assert message == pb.Account(
        booking_id=str(BOOKING), station_id=str(STATION), currency_code="EUR", total_minor=5, captured_minor=4,
        refunded_minor=3, gratuity_minor=2,
    )  # fmt: skip
    cancelled = replace(account, captured_minor=10_000, refund_basis_points=5_000, closed_at=(STATION, 7))
    assert AnyMessage.FromString(account_event_to_pb(cancelled)).Unpack(message)
    assert (message.refund_due_minor, message.closed) == (4_997, True)
    assert (message.booking_epoch, message.booking_version) == (str(STATION), 7)


async def test_a_page_token_leads_on_and_only_within_its_own_list() -> None:
    first = pb.ListPaymentsRequest(station_id=str(STATION), page_size=2)
    pager = pager_of(first, TOKENS)
    (message,) = [
        each async for each in page_to_pb(Page(rows=[row(payment(1))], next=(payment(1).create_time, payment(1).payment_id)), pager)
    ]
    later = pb.ListPaymentsRequest(station_id=str(STATION).upper(), page_size=50, page_token=message.next_page_token)
    assert list_query_from_pb(later, pager_of(later, TOKENS)).after == (payment(1).create_time, payment(1).payment_id)
    for other in (
        pb.ListPaymentsRequest(station_id=str(BOOKING), page_token=message.next_page_token),
        pb.ListPaymentsRequest(station_id=str(STATION), booking_id=str(BOOKING), page_token=message.next_page_token),
        pb.ListPaymentsRequest(station_id=str(STATION), page_token=message.next_page_token[:-1]),
    ):
        with pytest.raises(PageTokenInvalid):
            list_query_from_pb(other, pager_of(other, TOKENS))


async def test_a_page_of_more_than_a_mebibyte_becomes_messages_that_lead_on() -> None:
    rows = [row(payment(number)) for number in range(6_000, 0, -1)]
    pager = pager_of(pb.ListPaymentsRequest(station_id=str(STATION)), TOKENS)
    messages = [each async for each in page_to_pb(Page(rows=rows, next=None), pager)]
    assert len(messages) > 1
    assert all(message.ByteSize() <= PAGE_BYTES_MAX for message in messages)
    assert [shown.payment_id for message in messages for shown in message.payments] == [str(row["id"]) for row in rows]
    for message in messages[:-1]:
        last = message.payments[-1]
        assert pager.key(message.next_page_token) == (last.create_time.ToDatetime(UTC), UUID(last.payment_id))
    assert not messages[-1].next_page_token


@pytest.mark.parametrize("ended", [bookings_pb2.BOOKING_STATE_CANCELLED, bookings_pb2.BOOKING_STATE_EXPIRED])
def test_of_a_booking_its_facts_are_kept_and_the_share_to_refund_once_it_has_ended(ended: Any) -> None:
    booking = bookings_pb2.Booking(
        booking_id=str(BOOKING), station_id=str(STATION), customer_id=str(CUSTOMER), currency_code="EUR", total_minor=55_000
    )
    facts = {"station_id": STATION, "customer_id": CUSTOMER, "currency_code": "EUR", "total_minor": 55_000}
    assert heard.booking_facts(packed(booking)) == {**facts, "refund_basis_points": None}
    booking.state = ended
    assert heard.booking_facts(packed(booking)) == {**facts, "refund_basis_points": 0}
    booking.refund_basis_points = 5_000
    assert heard.booking_facts(packed(booking)) == {**facts, "refund_basis_points": 5_000}


def test_a_bookings_event_that_carries_something_else_is_not_taken_for_one() -> None:
    with pytest.raises(heard.Unexpected):
        heard.booking_facts(packed(stations_pb2.Station()))


async def test_while_a_page_is_made_others_have_their_turn() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    pager = pager_of(pb.ListPaymentsRequest(station_id=str(STATION)), TOKENS)
    rows = [row(payment(number)) for number in range(1_000)]
    async for _ in page_to_pb(Page(rows=rows, next=None), pager):
        assert turns >= 9
    running.cancel()
