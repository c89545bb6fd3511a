"""What tests ask of the services, and how they are refused."""

import asyncio
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import grpc
from google.rpc import error_details_pb2, status_pb2
from google.type.date_pb2 import Date
from google.type.timeofday_pb2 import TimeOfDay
from teppan.bookings.v1 import bookings_pb2
from teppan.payments.v1 import payments_pb2


def new() -> str:
    """A request ID, or any other."""
    return str(uuid4())


def day(ahead: int = 10) -> dt.date:
    """A date that can be booked."""
    return datetime.now(UTC).date() + timedelta(days=ahead)


def booking_request(station_id: str, customer_id: str, **changes: Any) -> bookings_pb2.CreateBookingRequest:
    """A good request: ten adults, in ten days at 12:00."""
    date, start = changes.pop("date", day()), changes.pop("slot_start", TimeOfDay(hours=12))  # merging would lose a zero
    request = bookings_pb2.CreateBookingRequest(
        request_id=new(),
        station_id=station_id,
        customer_id=customer_id,
        slot_date=Date(year=date.year, month=date.month, day=date.day),
        slot_start=start,
        guests=bookings_pb2.Guests(adults=10),
    )
    request.MergeFrom(bookings_pb2.CreateBookingRequest(**changes))
    return request


def payment_request(station_id: str, booking_id: str, amount_minor: int, **changes: Any) -> payments_pb2.CreatePaymentRequest:
    """Cash, as a deposit, in euros."""
    request = payments_pb2.CreatePaymentRequest(
        request_id=new(),
        station_id=station_id,
        booking_id=booking_id,
        kind=payments_pb2.PAYMENT_KIND_DEPOSIT,
        method=payments_pb2.PAYMENT_METHOD_CASH,
        amount_minor=amount_minor,
        currency_code="EUR",
    )
    request.MergeFrom(payments_pb2.CreatePaymentRequest(**changes))
    return request


@dataclass(frozen=True, slots=True)
class Refusal:
    """A failed call, taken apart."""

    code: str
    reason: str
    metadata: Mapping[str, str]
    fields: Mapping[str, str]
    retry_seconds: float | None
    message: str


async def refused(call: Any) -> Refusal:
    """How a call, unary or streaming, was refused; fails where it was not."""
    try:
        if hasattr(call, "__aiter__"):
            answer = [message async for message in call]
        else:
            answer = await call
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)
    raise AssertionError(f"it was not refused, but answered {answer}")


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """Takes the rich status of a failure apart."""
    info, bad, retry, seconds = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo(), None
    details = dict(iter(error.trailing_metadata() or ())).get("grpc-status-details-bin", b"")  # gRPC's Metadata is no Mapping
    for detail in status_pb2.Status.FromString(details).details:
        _ = detail.Unpack(info) or detail.Unpack(bad)
        if detail.Unpack(retry):
            seconds = retry.retry_delay.ToTimedelta().total_seconds()
    return Refusal(
        code=error.code().name,
        reason=info.reason,
        metadata=dict(info.metadata),
        fields={violation.field: violation.description for violation in bad.field_violations},
        retry_seconds=seconds,
        message=error.details() or "",
    )


async def eventually(attempt: Any, *, seconds: float = 20.0) -> Any:
    """What `attempt` gives, tried again while it is UNAVAILABLE or fails an assertion, for so long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        try:
            return await attempt()
        except (grpc.aio.AioRpcError, AssertionError) as error:
            transient = isinstance(error, AssertionError) or error.code() is grpc.StatusCode.UNAVAILABLE
            if not transient or loop.time() > deadline:
                raise
        await asyncio.sleep(0.02)
