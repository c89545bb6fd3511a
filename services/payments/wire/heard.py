"""What other services' events and answers say, as payments needs it."""

from typing import Any
from uuid import UUID

from google.protobuf.any_pb2 import Any as AnyMessage
from teppan.bookings.v1.bookings_pb2 import BOOKING_STATE_CANCELLED, BOOKING_STATE_EXPIRED, Booking

REFUNDED = frozenset({BOOKING_STATE_CANCELLED, BOOKING_STATE_EXPIRED})


class Unexpected(ValueError):
    """A payload of another type than its event's: the services do not fit together."""


def no_facts(payload: AnyMessage) -> dict[str, Any]:
    """Nothing is kept of a station."""
    return {}


def booking_facts(payload: AnyMessage) -> dict[str, Any]:
    """The columns that are kept of a booking; the share to refund only once it is cancelled or expired."""
    booking = Booking()
    if not payload.Unpack(booking):
        raise Unexpected(f"a booking's event carries {payload.type_url}")
    return {
        "station_id": UUID(booking.station_id),
        "customer_id": UUID(booking.customer_id),
        "currency_code": booking.currency_code,
        "total_minor": booking.total_minor,
        "refund_basis_points": booking.refund_basis_points if booking.state in REFUNDED else None,
    }
