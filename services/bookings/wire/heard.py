"""What other services' events and answers say, as bookings needs it."""

from typing import Any
from uuid import UUID

from google.protobuf.any_pb2 import Any as AnyMessage
from teppan.common.v1.events_pb2 import Event
from teppan.identity.v1.stations_pb2 import Station
from teppan.payments.v1.payments_pb2 import Account as AccountMessage

from bookings.usecases.deposits import Account


class Unexpected(ValueError):
    """A payload of another type than its event's: the services do not fit together."""


def station_facts(payload: AnyMessage) -> dict[str, Any]:
    """The columns that are kept of a station."""
    station = Station()
    if not payload.Unpack(station):
        raise Unexpected(f"a station's event carries {payload.type_url}")
    return {"code": station.code, "time_zone": station.time_zone, "currency_code": station.currency_code}


def no_facts(payload: AnyMessage) -> dict[str, Any]:
    """Nothing is kept of a user."""
    return {}


def account_from_event(event: Event) -> Account:
    """What payments says of a booking's money."""
    account = AccountMessage()
    if not event.payload.Unpack(account):
        raise Unexpected(f"an account's event carries {event.payload.type_url}")
    return Account(
        station_id=UUID(event.station_id),
        booking_id=UUID(event.entity_id),
        epoch=UUID(event.epoch),
        version=event.version,
        captured_minor=account.captured_minor,
        paid_minor=account.captured_minor - account.refunded_minor,
        closed_epoch=UUID(account.booking_epoch) if account.closed else None,
    )
