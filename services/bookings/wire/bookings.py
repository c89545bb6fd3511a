"""Bookings, one at a time."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from teppan.bookings.v1 import bookings_pb2 as pb

from bookings.domain.bookings import Booking, CancelledBy, NewBooking
from bookings.domain.price import Guests
from bookings.domain.slots import SlotKey
from bookings.usecases.bookings import Cancellation
from bookings.wire.values import date_from_pb, time_from_pb
from ids import parsed
from rowwire import Column, Plan, Type
from rpccommon.values import all_of, packed, set_instant


def new_booking_from_pb(request: pb.CreateBookingRequest) -> NewBooking:
    """Raises InvalidArgument for a date or a time that there is not."""
    date, start = all_of(
        lambda: date_from_pb(request.slot_date, "slot_date"),
        lambda: time_from_pb(request.slot_start, "slot_start"),
    )
    return NewBooking(
        station_id=parsed(request.station_id),
        customer_id=UUID(request.customer_id),
        slot=SlotKey(date=date, start=start),
        guests=Guests(adults=request.guests.adults, children=request.guests.children, infants=request.guests.infants),
        requests=request.requests,
        override_lead_time=request.override_lead_time,
        validate_only=request.validate_only,
    )


def cancellation_from_pb(request: pb.CancelBookingRequest) -> Cancellation:
    """What is to be cancelled, by whom."""
    return Cancellation(
        station_id=parsed(request.station_id),
        booking_id=UUID(request.booking_id),
        by=CancelledBy(request.cancelled_by),
        etag=request.etag,
        validate_only=request.validate_only,
    )


def booking_to_pb(booking: Booking) -> pb.Booking:
    """A whole booking; without an ID where it was only checked."""
    message = _shown_to_all(booking)
    message.requests = booking.requests
    for line in booking.lines:
        message.price_lines.add(kind=line.kind, quantity=line.quantity, unit_minor=line.unit_minor, amount_minor=line.amount_minor)
    return message


def fill_whole(message: pb.Booking, row: Any) -> None:
    """Writes a row of `store.bookings.read` into a message: the same booking as `booking_to_pb` makes of the object."""
    fill(message, row)
    message.requests = row["requests"]
    for kind, quantity, unit in zip(row["line_kinds"], row["line_quantities"], row["line_units_minor"], strict=True):
        message.price_lines.add(kind=kind, quantity=quantity, unit_minor=unit, amount_minor=quantity * unit)


def event_to_pb(booking: Booking) -> bytes:
    """The payload of a booking's events, and its facts for other services: nothing that a person wrote."""
    message = _shown_to_all(booking)
    message.ClearField("created_by_name")
    return packed(message)


def _shown_to_all(booking: Booking) -> pb.Booking:
    message = pb.Booking()
    fill(
        message,
        {
            "id": booking.booking_id or "",
            "slot_date": booking.slot.date,
            "slot_start": booking.slot.start,
            "adults": booking.guests.adults,
            "children": booking.guests.children,
            "infants": booking.guests.infants,
            **{name: getattr(booking, name) for name in _SAME},
        },
    )
    return message


_SAME = (
    "station_id", "reference", "customer_id", "state", "start_time", "end_time", "time_zone", "currency_code", "total_minor",
    "deposit_minor", "paid_minor", "policy_version", "deposit_deadline_time", "created_by", "created_by_name", "confirm_time",
    "cancel_time", "cancelled_by", "refund_basis_points", "version", "create_time", "update_time",
)  # fmt: skip


FIELDS = {
    "id": "booking_id", "version": "etag", "adults": "guests.adults", "children": "guests.children", "infants": "guests.infants",
}  # fmt: skip
"""Where columns go whose field has another name."""


def plan(columns: Sequence[tuple[str, Type]]) -> Plan:
    """What `fill` does, for the compiled encoder: a page of ListBookings from rows with these columns."""
    listed = [Column(name=name, type=type, field=FIELDS.get(name, name)) for name, type in columns]
    return Plan.of(pb.Booking.DESCRIPTOR, listed, field=pb.ListBookingsResponse.BOOKINGS_FIELD_NUMBER)


def fill(message: pb.Booking, row: Any) -> None:
    """Writes a row of `store.listing` (or its like) into a message in place: the hot path runs through here."""
    message.booking_id = str(row["id"])
    message.station_id = str(row["station_id"])
    message.reference = row["reference"]
    message.customer_id = str(row["customer_id"])
    message.state = row["state"]
    day, start = row["slot_date"], row["slot_start"]
    date = message.slot_date
    date.year, date.month, date.day = day.year, day.month, day.day
    message.slot_start.hours, message.slot_start.minutes, message.slot_start.seconds = start.hour, start.minute, start.second
    set_instant(message.start_time, row["start_time"])
    set_instant(message.end_time, row["end_time"])
    message.time_zone = row["time_zone"]
    guests = message.guests
    guests.adults, guests.children, guests.infants = row["adults"], row["children"], row["infants"]
    message.currency_code = row["currency_code"]
    message.total_minor = row["total_minor"]
    message.deposit_minor = row["deposit_minor"]
    message.paid_minor = row["paid_minor"]
    message.policy_version = row["policy_version"]
    set_instant(message.deposit_deadline_time, row["deposit_deadline_time"])
    if row["created_by"]:
        message.created_by = str(row["created_by"])
    message.created_by_name = row["created_by_name"]
    if row["confirm_time"]:
        set_instant(message.confirm_time, row["confirm_time"])
    if row["cancel_time"]:
        set_instant(message.cancel_time, row["cancel_time"])
    if row["cancelled_by"]:
        message.cancelled_by = row["cancelled_by"]
    if row["refund_basis_points"]:
        message.refund_basis_points = row["refund_basis_points"]
    message.etag = str(row["version"])
    set_instant(message.create_time, row["create_time"])
    set_instant(message.update_time, row["update_time"])
