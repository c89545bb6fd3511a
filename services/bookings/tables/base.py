"""What every service has, and the known rows of identity's things."""

from sqlalchemy import Column, DateTime, ForeignKey, Text, Uuid, text

from dbcommon import audit, feed, inbox, left, migrate, parked, references, requests
from dbcommon.references import registering
from dbcommon.schema import Access, metadata_of

metadata = metadata_of("bookings")

requests_ = requests.table(metadata)
feed_state = inbox.table(metadata)
left.table(metadata)
parked.tables(metadata)
audit.tables(metadata)
schema_compatibility = migrate.table(metadata)
feed.tables(metadata)
outbox = metadata.tables["bookings.outbox"]
registering.tables(metadata)

known_stations = references.known_table(
    metadata,
    "known_stations",
    *(Column(name, Text, nullable=False, server_default=text("''")) for name in ("code", "time_zone", "currency_code")),
)
known_users = references.known_table(metadata, "known_users")


def time(name: str, *, nullable: bool = False) -> Column[object]:
    """A time, with its zone."""
    return Column(name, DateTime(timezone=True), nullable=nullable)


def station() -> Column[object]:
    """The station of a row: the first column of its key."""
    return Column("station_id", Uuid, ForeignKey("bookings.known_stations.id"), primary_key=True)


ACCESS = {
    "requests": requests.ACCESS,
    **feed.ACCESS,
    "feed_state": inbox.ACCESS,
    "left_epochs": left.ACCESS,
    **parked.ACCESS,
    **audit.ACCESS,
    "schema_compatibility": migrate.ACCESS,
    **registering.ACCESS,
    "known_stations": Access(app=("SELECT",), platform=("SELECT", "INSERT", "UPDATE"), tenant="id"),
    "known_users": Access(platform=("SELECT", "INSERT", "UPDATE")),
}
DDL = [
    *feed.ddl("bookings", "known_stations", "known_users"),
    *migrate.grants("bookings"),
    *registering.ddl("bookings"),
]
