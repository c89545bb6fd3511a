"""Payments, one at a time, and accounts."""

from typing import Any
from uuid import UUID

from teppan.payments.v1 import payments_pb2 as pb

from ids import parsed
from payments.domain import Account, Kind, Method, NewPayment, Payment
from rpccommon.values import packed, set_instant


def new_payment_from_pb(request: pb.CreatePaymentRequest) -> NewPayment:
    """The payment that is asked for."""
    return NewPayment(
        station_id=parsed(request.station_id),
        booking_id=UUID(request.booking_id),
        kind=Kind(request.kind),
        method=Method(request.method),
        amount_minor=request.amount_minor,
        currency_code=request.currency_code,
    )


def payment_to_pb(payment: Payment) -> pb.Payment:
    """A payment."""
    message = pb.Payment()
    fill(message, {"id": payment.payment_id, **{name: getattr(payment, name) for name in _SAME}})
    return message


def payment_event_to_pb(payment: Payment) -> bytes:
    """The payload of a payment's events."""
    return packed(payment_to_pb(payment))


def account_event_to_pb(account: Account) -> bytes:
    """The payload of an account's events."""
    message = pb.Account(
        booking_id=str(account.booking_id),
        station_id=str(account.station_id),
        currency_code=account.currency_code,
        total_minor=account.total_minor,
        captured_minor=account.captured_minor,
        refunded_minor=account.refunded_minor,
        gratuity_minor=account.gratuity_minor,
        refund_due_minor=account.refund_due_minor,
    )
    if account.closed_at is not None:
        epoch, version = account.closed_at
        message.closed, message.booking_epoch, message.booking_version = True, str(epoch), version
    return packed(message)


_SAME = (
    "station_id", "booking_id", "customer_id", "kind", "method", "state", "amount_minor", "currency_code", "version",
    "create_time", "update_time",
)  # fmt: skip


def fill(message: pb.Payment, row: Any) -> None:
    """Writes a row of `store.keyset` (or its like) into a message in place."""
    message.payment_id = str(row["id"])
    message.station_id = str(row["station_id"])
    message.booking_id = str(row["booking_id"])
    message.customer_id = str(row["customer_id"])
    message.kind = row["kind"]
    message.method = row["method"]
    message.state = row["state"]
    message.amount_minor = row["amount_minor"]
    message.currency_code = row["currency_code"]
    message.etag = str(row["version"])
    set_instant(message.create_time, row["create_time"])
    set_instant(message.update_time, row["update_time"])
