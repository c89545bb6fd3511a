"""Bookings, and the lines of their price, whose sum a trigger holds to the total."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    Time,
    Uuid,
    text,
)

from bookings.tables.base import known_stations, metadata, station, time
from dbcommon import references
from dbcommon.schema import Access

bookings = Table(
    "bookings",
    metadata,
    station(),
    Column("id", Uuid, primary_key=True),
    Column("reference", Text, nullable=False, unique=True),
    Column("customer_id", Uuid, nullable=False),
    Column("state", SmallInteger, CheckConstraint("state BETWEEN 1 AND 9", name="state"), nullable=False),
    Column("slot_date", Date, nullable=False),
    Column("slot_start", Time, nullable=False),
    time("start_time"),
    time("end_time"),
    Column("time_zone", Text, nullable=False),
    Column("adults", SmallInteger, CheckConstraint("adults >= 0", name="adults"), nullable=False),
    Column("children", SmallInteger, CheckConstraint("children >= 0", name="children"), nullable=False),
    Column("infants", SmallInteger, CheckConstraint("infants >= 0", name="infants"), nullable=False),
    Column("currency_code", Text, nullable=False),
    Column("total_minor", BigInteger, CheckConstraint("total_minor >= 0", name="total_minor"), nullable=False),
    Column("deposit_minor", BigInteger, nullable=False),
    Column("paid_minor", BigInteger, nullable=False, server_default=text("0")),
    Column("paid_epoch", Uuid),
    Column("paid_version", BigInteger, nullable=False, server_default=text("0")),
    Column("policy_version", Integer, nullable=False),
    Column("requests", Text, nullable=False),
    time("deposit_deadline_time"),
    Column("created_by", Uuid),
    Column("created_by_name", Text, nullable=False),
    time("confirm_time", nullable=True),
    time("cancel_time", nullable=True),
    Column("cancelled_by", SmallInteger),
    Column("refund_basis_points", Integer),
    Column("version", BigInteger, nullable=False),
    time("create_time"),
    time("update_time"),
    time("expiring_time", nullable=True),
    CheckConstraint("adults + children + infants BETWEEN 1 AND 50", name="guests"),
    CheckConstraint("deposit_minor BETWEEN 0 AND total_minor", name="deposit_minor"),
    CheckConstraint("(state = 7) = (cancel_time IS NOT NULL)", name="cancelled"),
    CheckConstraint("refund_basis_points BETWEEN 0 AND 10000", name="refund_basis_points"),
    CheckConstraint("state <> 3 OR expiring_time IS NOT NULL", name="expiring"),
    ForeignKeyConstraint(["station_id", "customer_id"], ["bookings.customers.station_id", "bookings.customers.id"]),
    ForeignKeyConstraint(
        ["station_id", "slot_date", "slot_start"],
        ["bookings.slots.station_id", "bookings.slots.local_date", "bookings.slots.local_start"],
    ),
    Index(None, "id"),
    Index(None, "station_id", "start_time", "id"),
    Index(None, "station_id", "state", "start_time", "id"),
    Index(None, "station_id", "customer_id", "start_time", "id"),
    Index("bookings_pending_idx", "deposit_deadline_time", postgresql_where=text("state = 2")),
    Index("bookings_expiring_idx", "update_time", postgresql_where=text("state = 3")),
)

CHANGING = (
    "state", "paid_minor", "confirm_time", "expiring_time", "cancel_time", "cancelled_by", "refund_basis_points", "version",
    "update_time",
)  # fmt: skip
"""What becomes of a booking; all else stays as it was made."""

# Money that payments had told of, and has lost in a restore: until it tells of as much again. What an operator has settled stays so.
lost_money = Table(
    "lost_money",
    metadata,
    Column("booking_id", Uuid, primary_key=True),
    Column("station_id", Uuid, nullable=False),
    Column("paid_minor", BigInteger, nullable=False),
    Column("found_time", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    time("settled_time", nullable=True),
)

price_lines = Table(
    "price_lines",
    metadata,
    Column("station_id", Uuid, primary_key=True),
    Column("booking_id", Uuid, primary_key=True),
    Column("line", SmallInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("unit_minor", BigInteger, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    ForeignKeyConstraint(["station_id", "booking_id"], ["bookings.bookings.station_id", "bookings.bookings.id"]),
)

_LINES = """CREATE FUNCTION bookings.price_lines_sum() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF (SELECT coalesce(sum(l.amount_minor), 0) FROM bookings.price_lines l
       WHERE l.station_id = NEW.station_id AND l.booking_id = NEW.id) <> NEW.total_minor THEN
    RAISE EXCEPTION 'lines do not sum to the total' USING ERRCODE = 'check_violation', CONSTRAINT = 'price_lines_sum';
  END IF;
  RETURN NULL;
END $$"""

ACCESS = {
    "bookings": Access(
        app=("SELECT", "INSERT", f"UPDATE ({', '.join(CHANGING)})"), platform=("SELECT", "UPDATE"), tenant="station_id"
    ),
    "lost_money": Access(platform=("SELECT", "INSERT", "UPDATE", "DELETE")),
    "price_lines": Access(app=("SELECT", "INSERT"), tenant="station_id"),
}
DDL = [
    *references.guard("bookings", "bookings", "station_id", known=known_stations, owner="identity"),
    _LINES,
    "REVOKE ALL ON FUNCTION bookings.price_lines_sum() FROM PUBLIC",
    "CREATE CONSTRAINT TRIGGER price_lines_sum AFTER INSERT OR UPDATE OF total_minor ON bookings.bookings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION bookings.price_lines_sum()",
]
