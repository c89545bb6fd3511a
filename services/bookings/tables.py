"""The schema of bookings, as its migrations make it (a test compares the catalogs)."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    text,
)  # fmt: skip

from dbcommon import audit, feed, inbox, left, migrate, parked, references, requests
from dbcommon.references import registering
from dbcommon.schema import Access, Schema, metadata_of

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


def _time(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _station() -> Column[object]:
    return Column("station_id", Uuid, ForeignKey("bookings.known_stations.id"), primary_key=True)


customers = Table(
    "customers",
    metadata,
    _station(),
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("bookings.known_users.id")),
    Column("name", Text, nullable=False),
    Column("email", LargeBinary, nullable=False),
    Column("email_index", LargeBinary, nullable=False),
    Column("phone", LargeBinary),
    Column("phone_index", LargeBinary),
    Column("version", BigInteger, nullable=False),
    _time("create_time"),
    _time("update_time"),
    UniqueConstraint("station_id", "email_index"),
    Index(None, "station_id", "phone_index"),
    Index(None, "user_id", postgresql_where=text("user_id IS NOT NULL")),
)

schedules = Table(
    "schedules",
    metadata,
    _station(),
    Column("version", BigInteger, nullable=False),
    _time("update_time"),
)

schedule_slots = Table(
    "schedule_slots",
    metadata,
    Column("station_id", Uuid, primary_key=True),
    Column("weekday", SmallInteger, CheckConstraint("weekday BETWEEN 1 AND 7", name="weekday"), primary_key=True),
    Column("local_start", Time, primary_key=True),
    Column(
        "length_minutes", SmallInteger, CheckConstraint("length_minutes BETWEEN 15 AND 1440", name="length_minutes"), nullable=False
    ),
    Column("capacity", SmallInteger, CheckConstraint("capacity >= 0", name="capacity"), nullable=False),
    ForeignKeyConstraint(["station_id"], ["bookings.schedules.station_id"], ondelete="CASCADE"),
)

slots = Table(
    "slots",
    metadata,
    _station(),
    Column("local_date", Date, primary_key=True),
    Column("local_start", Time, primary_key=True),
    _time("start_time"),
    _time("end_time"),
    Column("capacity", SmallInteger, CheckConstraint("capacity >= 0", name="capacity"), nullable=False),
    Column("taken", SmallInteger, CheckConstraint("taken >= 0", name="taken"), nullable=False, server_default=text("0")),
)

bookings = Table(
    "bookings",
    metadata,
    _station(),
    Column("id", Uuid, primary_key=True),
    Column("reference", Text, nullable=False, unique=True),
    Column("customer_id", Uuid, nullable=False),
    Column("state", SmallInteger, CheckConstraint("state BETWEEN 1 AND 9", name="state"), nullable=False),
    Column("slot_date", Date, nullable=False),
    Column("slot_start", Time, nullable=False),
    _time("start_time"),
    _time("end_time"),
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
    _time("deposit_deadline_time"),
    Column("created_by", Uuid),
    Column("created_by_name", Text, nullable=False),
    _time("confirm_time", nullable=True),
    _time("cancel_time", nullable=True),
    Column("cancelled_by", SmallInteger),
    Column("refund_basis_points", Integer),
    Column("version", BigInteger, nullable=False),
    _time("create_time"),
    _time("update_time"),
    _time("expiring_time", nullable=True),
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
    Index("bookings_money_unknown_idx", "update_time", postgresql_where=text("paid_minor > 0 AND paid_epoch IS NULL")),
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

# HELD, PENDING, EXPIRING, CONFIRMED and IN_PROGRESS occupy a place.
_OCCUPANCY = """CREATE FUNCTION bookings.slots_occupancy() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  was boolean := TG_OP <> 'INSERT' AND OLD.state BETWEEN 1 AND 5;
  is_ boolean := TG_OP <> 'DELETE' AND NEW.state BETWEEN 1 AND 5;
BEGIN
  IF was AND is_ AND (OLD.station_id, OLD.slot_date, OLD.slot_start) = (NEW.station_id, NEW.slot_date, NEW.slot_start) THEN
    RETURN NULL;
  END IF;
  IF was THEN
    UPDATE bookings.slots SET taken = taken - 1
     WHERE station_id = OLD.station_id AND local_date = OLD.slot_date AND local_start = OLD.slot_start;
  END IF;
  IF is_ THEN
    UPDATE bookings.slots SET taken = taken + 1
     WHERE station_id = NEW.station_id AND local_date = NEW.slot_date AND local_start = NEW.slot_start;
  END IF;
  RETURN NULL;
END $$"""

# Only a rise is refused: a capacity may be lowered below what is booked, and then sells nothing more.
_CAPACITY = """CREATE FUNCTION bookings.slots_capacity() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NEW.taken > NEW.capacity AND (TG_OP = 'INSERT' OR NEW.taken > OLD.taken) THEN
    RAISE EXCEPTION 'no place is left' USING ERRCODE = 'check_violation', CONSTRAINT = 'slots_within_capacity';
  END IF;
  RETURN NEW;
END $$"""

_LINES = """CREATE FUNCTION bookings.price_lines_sum() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF (SELECT coalesce(sum(l.amount_minor), 0) FROM bookings.price_lines l
       WHERE l.station_id = NEW.station_id AND l.booking_id = NEW.id) <> NEW.total_minor THEN
    RAISE EXCEPTION 'lines do not sum to the total' USING ERRCODE = 'check_violation', CONSTRAINT = 'price_lines_sum';
  END IF;
  RETURN NULL;
END $$"""

SCHEMA = Schema(
    service="bookings",
    metadata=metadata,
    access={
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
        "customers": Access(app=("SELECT", "INSERT", "UPDATE"), platform=("SELECT", "UPDATE (user_id)"), tenant="station_id"),
        "schedules": Access(app=("SELECT", "INSERT", "UPDATE"), platform=("SELECT", "DELETE"), tenant="station_id"),
        "schedule_slots": Access(app=("SELECT", "INSERT", "DELETE"), tenant="station_id"),
        "slots": Access(app=("SELECT", "INSERT", "UPDATE"), platform=("SELECT", "DELETE", "UPDATE (taken)"), tenant="station_id"),
        "bookings": Access(app=("SELECT", "INSERT", "UPDATE"), platform=("SELECT", "UPDATE"), tenant="station_id"),
        "price_lines": Access(app=("SELECT", "INSERT"), tenant="station_id"),
    },
    after=[
        *feed.ddl("bookings", "known_stations", "known_users"),
        *migrate.grants("bookings"),
        *registering.ddl("bookings"),
        *references.guard("bookings", "customers", "station_id", known=known_stations, owner="identity"),
        *references.guard("bookings", "customers", "user_id", known=known_users, owner="identity"),
        *references.guard("bookings", "schedules", "station_id", known=known_stations, owner="identity"),
        *references.guard("bookings", "slots", "station_id", known=known_stations, owner="identity"),
        *references.guard("bookings", "bookings", "station_id", known=known_stations, owner="identity"),
        _OCCUPANCY,
        "REVOKE ALL ON FUNCTION bookings.slots_occupancy() FROM PUBLIC",
        "CREATE TRIGGER slots_occupancy AFTER INSERT OR DELETE OR UPDATE OF state, slot_date, slot_start ON bookings.bookings FOR EACH ROW EXECUTE FUNCTION bookings.slots_occupancy()",
        _CAPACITY,
        "REVOKE ALL ON FUNCTION bookings.slots_capacity() FROM PUBLIC",
        "CREATE TRIGGER slots_capacity BEFORE INSERT OR UPDATE ON bookings.slots FOR EACH ROW EXECUTE FUNCTION bookings.slots_capacity()",
        _LINES,
        "REVOKE ALL ON FUNCTION bookings.price_lines_sum() FROM PUBLIC",
        "CREATE CONSTRAINT TRIGGER price_lines_sum AFTER INSERT OR UPDATE OF total_minor ON bookings.bookings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION bookings.price_lines_sum()",
    ],
)
