"""Schedules and slots: triggers count the places that bookings take, and refuse one too many."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Date, ForeignKeyConstraint, SmallInteger, Table, Time, Uuid, text

from bookings.tables.base import known_stations, metadata, station, time
from dbcommon import references
from dbcommon.schema import Access

schedules = Table(
    "schedules",
    metadata,
    station(),
    Column("version", BigInteger, nullable=False),
    time("update_time"),
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
    station(),
    Column("local_date", Date, primary_key=True),
    Column("local_start", Time, primary_key=True),
    time("start_time"),
    time("end_time"),
    Column("capacity", SmallInteger, CheckConstraint("capacity >= 0", name="capacity"), nullable=False),
    Column("taken", SmallInteger, CheckConstraint("taken >= 0", name="taken"), nullable=False, server_default=text("0")),
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

# Only what a booking fills, or makes longer, is looked at: what overlapped before stays. The row of the calendar is the lock in which
# those meet who fill different slots; whoever waited for it sees what the others have filled.
_APART = """CREATE FUNCTION bookings.slots_apart() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NEW.taken = 0 OR (TG_OP = 'UPDATE' AND OLD.taken > 0 AND NEW.start_time >= OLD.start_time AND NEW.end_time <= OLD.end_time) THEN
    RETURN NEW;
  END IF;
  PERFORM FROM bookings.schedules WHERE station_id = NEW.station_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    INSERT INTO bookings.schedules (station_id, version, update_time) VALUES (NEW.station_id, 0, now()) ON CONFLICT DO NOTHING;
    PERFORM FROM bookings.schedules WHERE station_id = NEW.station_id FOR NO KEY UPDATE;
  END IF;
  IF EXISTS (SELECT FROM bookings.slots s
              WHERE s.station_id = NEW.station_id AND s.local_date BETWEEN NEW.local_date - 2 AND NEW.local_date + 2
                AND (s.local_date, s.local_start) <> (NEW.local_date, NEW.local_start)
                AND s.taken > 0 AND s.start_time < NEW.end_time AND s.end_time > NEW.start_time) THEN
    RAISE EXCEPTION 'bookings are kept in a slot that overlaps' USING ERRCODE = 'check_violation', CONSTRAINT = 'slots_apart';
  END IF;
  RETURN NEW;
END $$"""

ACCESS = {
    "schedules": Access(app=("SELECT", "INSERT", "UPDATE"), platform=("SELECT", "DELETE"), tenant="station_id"),
    "schedule_slots": Access(app=("SELECT", "INSERT", "DELETE"), tenant="station_id"),
    # Nobody sets `taken` but the triggers. Of the platform's role the UPDATE only is the right to lock.
    "slots": Access(
        app=(
            "SELECT",
            "INSERT (station_id, local_date, local_start, start_time, end_time, capacity)",
            "UPDATE (start_time, end_time, capacity)",
        ),
        platform=("SELECT", "DELETE", "UPDATE (capacity)"),
        tenant="station_id",
    ),
}
DDL = [
    *references.guard("bookings", "schedules", "station_id", known=known_stations, owner="identity"),
    *references.guard("bookings", "slots", "station_id", known=known_stations, owner="identity"),
    _OCCUPANCY,
    "REVOKE ALL ON FUNCTION bookings.slots_occupancy() FROM PUBLIC",
    "CREATE TRIGGER slots_occupancy AFTER INSERT OR DELETE OR UPDATE OF state, slot_date, slot_start ON bookings.bookings FOR EACH ROW EXECUTE FUNCTION bookings.slots_occupancy()",
    _CAPACITY,
    "REVOKE ALL ON FUNCTION bookings.slots_capacity() FROM PUBLIC",
    "CREATE TRIGGER slots_capacity BEFORE INSERT OR UPDATE ON bookings.slots FOR EACH ROW EXECUTE FUNCTION bookings.slots_capacity()",
    _APART,
    "REVOKE ALL ON FUNCTION bookings.slots_apart() FROM PUBLIC",
    "CREATE TRIGGER slots_apart BEFORE INSERT OR UPDATE ON bookings.slots FOR EACH ROW EXECUTE FUNCTION bookings.slots_apart()",
]
