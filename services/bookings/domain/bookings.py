"""Bookings: their states, and what may become of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum
from uuid import UUID
from zoneinfo import ZoneInfo

from bookings.domain.policy import Policy
from bookings.domain.price import Guests, Line, price
from bookings.domain.slots import Slot, SlotKey, Station, reached
from faults import EtagStale, FailedPrecondition, NotFound

REFUND_ALL = 10_000
REFUND_HALF = 5_000


class State(IntEnum):
    """As teppan.bookings.v1.BookingState numbers them."""

    HELD = 1
    PENDING = 2
    EXPIRING = 3
    CONFIRMED = 4
    IN_PROGRESS = 5
    COMPLETED = 6
    CANCELLED = 7
    EXPIRED = 8
    NO_SHOW = 9


TRANSITIONS = {
    State.HELD: {State.PENDING, State.CANCELLED, State.EXPIRED},
    State.PENDING: {State.CONFIRMED, State.EXPIRING, State.CANCELLED},
    State.EXPIRING: {State.CONFIRMED, State.EXPIRED},
    State.CONFIRMED: {State.IN_PROGRESS, State.CANCELLED, State.NO_SHOW},
    State.IN_PROGRESS: {State.COMPLETED},
    State.COMPLETED: set(),
    State.CANCELLED: set(),
    State.EXPIRED: set(),
    State.NO_SHOW: set(),
}
"""The only place that knows what may follow what."""

UNPAYABLE = frozenset({State.EXPIRING, State.CANCELLED, State.EXPIRED, State.NO_SHOW})
"""Bookings that take no new payment. Only EXPIRING may still become one that does."""


class CancelledBy(IntEnum):
    """As teppan.bookings.v1.CancelledBy numbers them."""

    CUSTOMER = 1
    STATION = 2


class BookingNotFound(NotFound):
    """No such booking in that station."""

    reason = "BOOKING_NOT_FOUND"


class BookingState(FailedPrecondition):
    """The booking's state does not allow the transition."""

    reason = "BOOKING_STATE"


class LeadTime(FailedPrecondition):
    """The slot begins too soon to be booked."""

    reason = "LEAD_TIME"


class TooFarAhead(FailedPrecondition):
    """The slot is too far ahead to be booked."""

    reason = "TOO_FAR_AHEAD"


class ReferenceTaken(Exception):
    """Another booking has that reference: another one is drawn. No refusal: nobody asked for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBooking:
    """What is asked for."""

    station_id: UUID
    customer_id: UUID
    slot: SlotKey
    guests: Guests
    requests: str
    override_lead_time: bool
    validate_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """A booking; amounts in minor units, times as instants beside the local intent."""

    booking_id: UUID | None
    station_id: UUID
    reference: str
    customer_id: UUID
    state: State
    slot: SlotKey
    start_time: datetime
    end_time: datetime
    time_zone: str
    guests: Guests
    currency_code: str
    total_minor: int
    deposit_minor: int
    policy_version: int
    requests: str
    lines: Sequence[Line]
    deposit_deadline_time: datetime
    created_by: UUID | None
    created_by_name: str
    create_time: datetime
    update_time: datetime
    version: int = 1
    paid_minor: int = 0
    confirm_time: datetime | None = None
    expiring_time: datetime | None = None
    cancel_time: datetime | None = None
    cancelled_by: CancelledBy | None = None
    refund_basis_points: int | None = None


def book(
    wanted: NewBooking, slot: Slot, station: Station, policy: Policy, *,
    booking_id: UUID | None, reference: str, created_by: UUID | None, created_by_name: str, now: datetime,
) -> Booking:  # fmt: skip
    """A booking that waits for its deposit. Raises LeadTime, TooFarAhead."""
    deadline = deposit_deadline(slot.start_time, policy, override_lead_time=wanted.override_lead_time, now=now)
    priced = price(wanted.guests, policy)
    return Booking(
        booking_id=booking_id,
        station_id=wanted.station_id,
        reference=reference,
        customer_id=wanted.customer_id,
        state=State.PENDING,
        slot=slot.key,
        start_time=slot.start_time,
        end_time=slot.end_time,
        time_zone=station.time_zone,
        guests=wanted.guests,
        currency_code=station.currency_code,
        total_minor=priced.total_minor,
        deposit_minor=priced.deposit_minor,
        policy_version=policy.version,
        requests=wanted.requests,
        lines=priced.lines,
        deposit_deadline_time=deadline,
        created_by=created_by,
        created_by_name=created_by_name,
        create_time=now,
        update_time=now,
    )


def deposit_deadline(start: datetime, policy: Policy, *, override_lead_time: bool, now: datetime) -> datetime:
    """Until when the deposit is waited for: before the lead time begins, or until the start where that is overridden.

    Raises TooFarAhead, and LeadTime also where too little time would be left to pay it: nobody is sold what cannot be paid.
    """
    if start - now > policy.horizon:
        raise TooFarAhead(f"a booking is made at most {policy.horizon.days} days ahead", days=policy.horizon.days)
    hours, minutes = policy.lead_time // timedelta(hours=1), policy.deposit_patience_least // timedelta(minutes=1)
    if start <= now:
        raise LeadTime("the slot has begun", lead_hours=hours)
    if start - now < policy.lead_time and not override_lead_time:
        raise LeadTime(f"a booking is made at least {hours} hours before its start", lead_hours=hours)
    latest = start - policy.lead_time
    if override_lead_time and latest - now < policy.deposit_patience_least:
        latest = start
    if latest - now < policy.deposit_patience_least:
        raise LeadTime(f"less than {minutes} minutes would be left to pay the deposit", lead_hours=hours)
    return min(now + policy.deposit_patience, latest)


def cancel(booking: Booking, by: CancelledBy, policy: Policy, *, etag: str, now: datetime) -> Booking:
    """The booking, cancelled, with the share that is refunded. Raises BookingState, EtagStale."""
    if etag and etag != str(booking.version):
        raise EtagStale("the booking changed since its etag was read", etag=str(booking.version))
    cancelled = _moved(booking, State.CANCELLED, now)
    if booking.end_time <= now:
        message = f"a booking that is {booking.state.name} cannot become CANCELLED after its end"
        raise BookingState(message, **{"from": booking.state.name, "to": "CANCELLED"})
    return replace(cancelled, cancel_time=now, cancelled_by=by, refund_basis_points=_refund_share(booking, by, policy, now))


def expire(booking: Booking, now: datetime) -> Booking:
    """A booking whose deposit is overdue, EXPIRING: payments is asked to close its account. Of one that is, it is asked again."""
    if booking.state is State.EXPIRING:
        return replace(booking, version=booking.version + 1, update_time=now)
    return replace(_moved(booking, State.EXPIRING, now), expiring_time=now)


def paid(booking: Booking, paid_minor: int, *, final: bool, now: datetime) -> Booking:
    """The booking after payments reported what is paid: a fact, never refused. The same booking where it is no news.

    A covered deposit confirms at once what is PENDING. What is EXPIRING waits for the `final` report, of the account that was
    closed for it, and is decided by that alone: CONFIRMED, or EXPIRED, and then all that was paid is given back.
    """
    covered = paid_minor >= booking.deposit_minor
    if covered and (booking.state is State.PENDING or (final and booking.state is State.EXPIRING)):
        return replace(_moved(booking, State.CONFIRMED, now), paid_minor=paid_minor, confirm_time=now)
    if final and booking.state is State.EXPIRING:
        return replace(_moved(booking, State.EXPIRED, now), paid_minor=paid_minor, refund_basis_points=REFUND_ALL)
    if paid_minor == booking.paid_minor:
        return booking
    return replace(booking, paid_minor=paid_minor, version=booking.version + 1, update_time=now)


def _moved(booking: Booking, to: State, now: datetime) -> Booking:
    if to not in TRANSITIONS[booking.state]:
        message = f"a booking that is {booking.state.name} cannot become {to.name}"
        raise BookingState(message, **{"from": booking.state.name, "to": to.name})
    return replace(booking, state=to, version=booking.version + 1, update_time=now)


def _refund_share(booking: Booking, by: CancelledBy, policy: Policy, now: datetime) -> int:
    """In basis points of what was captured. Days are those of the station's calendar, to the local time of the start."""
    zone = ZoneInfo(booking.time_zone)
    start = booking.start_time.astimezone(zone).replace(tzinfo=None)

    def days_before(days: int) -> bool:
        return now <= reached(start - timedelta(days=days), zone)

    if by is CancelledBy.STATION or days_before(policy.full_refund_days):
        return REFUND_ALL
    return REFUND_HALF if days_before(policy.half_refund_days) else 0
