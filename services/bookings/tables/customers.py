"""Customers of a station; what is private of them is encrypted."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, Table, Text, UniqueConstraint, Uuid, text

from bookings.tables.base import known_stations, known_users, metadata, station, time
from dbcommon import references
from dbcommon.schema import Access

customers = Table(
    "customers",
    metadata,
    station(),
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("bookings.known_users.id")),
    Column("name", Text, nullable=False),
    Column("email", LargeBinary, nullable=False),
    Column("email_index", LargeBinary, nullable=False),
    Column("phone", LargeBinary),
    Column("phone_index", LargeBinary),
    Column("version", BigInteger, nullable=False),
    time("create_time"),
    time("update_time"),
    UniqueConstraint("station_id", "email_index"),
    Index(None, "station_id", "phone_index"),
    Index(None, "user_id", postgresql_where=text("user_id IS NOT NULL")),
)

ACCESS = {
    "customers": Access(app=("SELECT", "INSERT", "UPDATE"), platform=("SELECT", "UPDATE (user_id)"), tenant="station_id"),
}
DDL = [
    *references.guard("bookings", "customers", "station_id", known=known_stations, owner="identity"),
    *references.guard("bookings", "customers", "user_id", known=known_users, owner="identity"),
]
