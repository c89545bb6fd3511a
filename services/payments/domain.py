"""The rules of payments: what is owed for a booking, and what may be taken for it. Pure: no clock, no ID, no I/O.

All amounts are in minor units of the booking's currency.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from faults import FailedPrecondition, InvalidArgument, NotFound

_ALL_BASIS_POINTS = 10_000
_HALF_UNIT = _ALL_BASIS_POINTS // 2


class Kind(IntEnum):
    """As teppan.payments.v1.PaymentKind numbers them."""

    DEPOSIT = 1
    BALANCE = 2
    FULL = 3
    GRATUITY = 4


class Method(IntEnum):
    """As teppan.payments.v1.PaymentMethod numbers them."""

    CASH = 1


class State(IntEnum):
    """As teppan.payments.v1.PaymentState numbers them. Money recorded by hand is there already: CAPTURED at once."""

    CAPTURED = 1


class PaymentNotFound(NotFound):
    """No such payment in that station."""

    reason = "PAYMENT_NOT_FOUND"


class Overpaid(FailedPrecondition):
    """It is more than is owed."""

    reason = "OVERPAID"


class CurrencyMismatch(InvalidArgument):
    """The booking is paid in another currency."""

    reason = "CURRENCY_MISMATCH"
    common = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPayment:
    """What is asked for."""

    station_id: UUID
    booking_id: UUID
    kind: Kind
    method: Method
    amount_minor: int
    currency_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """Money that came in for a booking."""

    payment_id: UUID
    station_id: UUID
    booking_id: UUID
    customer_id: UUID
    kind: Kind
    method: Method
    state: State
    amount_minor: int
    currency_code: str
    created_by: UUID | None
    created_by_name: str
    create_time: datetime
    update_time: datetime
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a booking costs, as bookings last said, and what was paid for it. `version` counts what is announced of the account."""

    booking_id: UUID
    station_id: UUID
    customer_id: UUID
    currency_code: str
    total_minor: int
    captured_minor: int
    refunded_minor: int
    gratuity_minor: int
    version: int
    refund_basis_points: int | None = None
    """The share of what was captured that is given back; None while the booking has not ended."""
    closed_at: tuple[UUID, int] | None = None
    """Epoch and version of the booking's event that closed it; None while money may be taken, or is about to be refused."""

    @property
    def owed_minor(self) -> int:
        """What may still be taken; 0 where the total was lowered below what is paid, too."""
        return max(0, self.total_minor - self.captured_minor + self.refunded_minor)

    @property
    def refund_due_minor(self) -> int:
        """What is to be given back: a target, less what was given. Half a unit is rounded up. A trigger keeps it in the database."""
        target = (self.captured_minor * (self.refund_basis_points or 0) + _HALF_UNIT) // _ALL_BASIS_POINTS
        return max(0, target - self.refunded_minor)


def receive(account: Account, wanted: NewPayment) -> Account:
    """The account with that money in it. A gratuity stands outside of what is owed. Raises CurrencyMismatch, Overpaid."""
    if wanted.currency_code != account.currency_code:
        problem = f"the booking is paid in {account.currency_code}"
        raise CurrencyMismatch({"currency_code": problem}, currency_code=account.currency_code)
    if wanted.kind is Kind.GRATUITY:
        return replace(account, gratuity_minor=account.gratuity_minor + wanted.amount_minor, version=account.version + 1)
    if wanted.amount_minor > account.owed_minor:
        raise overpaid(account)
    return replace(account, captured_minor=account.captured_minor + wanted.amount_minor, version=account.version + 1)


def overpaid(account: Account) -> Overpaid:
    """The refusal of more than is owed on an account."""
    return Overpaid(f"{account.owed_minor} {account.currency_code} (minor units) are owed", owed_minor=account.owed_minor)


def record(
    wanted: NewPayment, account: Account, *, payment_id: UUID, created_by: UUID | None, created_by_name: str, now: datetime
) -> Payment:
    """A payment that was received by hand; its customer is the booking's."""
    return Payment(
        payment_id=payment_id,
        station_id=wanted.station_id,
        booking_id=wanted.booking_id,
        customer_id=account.customer_id,
        kind=wanted.kind,
        method=wanted.method,
        state=State.CAPTURED,
        amount_minor=wanted.amount_minor,
        currency_code=wanted.currency_code,
        created_by=created_by,
        created_by_name=created_by_name,
        create_time=now,
        update_time=now,
    )
