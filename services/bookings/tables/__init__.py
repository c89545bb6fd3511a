"""The schema of bookings, as its migrations make it (a test compares the catalogs)."""

from bookings.tables import base
from bookings.tables import bookings as bookings_
from bookings.tables import customers as customers_
from bookings.tables import slots as slots_
from bookings.tables.base import feed_state, known_stations, known_users, metadata, outbox, requests_, schema_compatibility
from bookings.tables.bookings import CHANGING, bookings, lost_money, price_lines
from bookings.tables.customers import customers
from bookings.tables.slots import schedule_slots, schedules, slots
from dbcommon.schema import Schema

_NOUNS = (base, customers_, slots_, bookings_)

SCHEMA = Schema(
    service="bookings",
    metadata=metadata,
    access={table: access for noun in _NOUNS for table, access in noun.ACCESS.items()},
    after=[statement for noun in _NOUNS for statement in noun.DDL],
)

__all__ = [
    "CHANGING",
    "SCHEMA",
    "bookings",
    "customers",
    "feed_state",
    "known_stations",
    "known_users",
    "lost_money",
    "metadata",
    "outbox",
    "price_lines",
    "requests_",
    "schedule_slots",
    "schedules",
    "schema_compatibility",
    "slots",
]
