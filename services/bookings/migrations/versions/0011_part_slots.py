"""Slots in which bookings are kept stand apart, nobody but the triggers sets how many are, and calls change only what may change."""

from alembic import op

revision = "0011"
down_revision = "0010"

COLUMNS = "station_id, local_date, local_start, start_time, end_time, capacity"
CHANGING = "state, paid_minor, confirm_time, expiring_time, cancel_time, cancelled_by, refund_basis_points, version, update_time"
APART = """CREATE FUNCTION bookings.slots_apart() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
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
TRIGGER = (
    "CREATE TRIGGER slots_apart BEFORE INSERT OR UPDATE ON bookings.slots FOR EACH ROW EXECUTE FUNCTION bookings.slots_apart()"
)


def upgrade() -> None:
    """Slots that overlap already stay so; code of before makes no others, and answers INTERNAL where it tries to."""
    op.execute(APART)
    op.execute("REVOKE ALL ON FUNCTION bookings.slots_apart() FROM PUBLIC")
    op.execute(TRIGGER)
    op.execute("REVOKE INSERT, UPDATE ON bookings.slots FROM bookings_app")
    op.execute(f"GRANT INSERT ({COLUMNS}), UPDATE (start_time, end_time, capacity) ON bookings.slots TO bookings_app")
    op.execute("REVOKE UPDATE ON bookings.bookings FROM bookings_app")
    op.execute(f"GRANT UPDATE ({CHANGING}) ON bookings.bookings TO bookings_app")
    op.execute("GRANT UPDATE (capacity) ON bookings.slots TO bookings_platform")
    op.execute("REVOKE UPDATE (taken) ON bookings.slots FROM bookings_platform")


def downgrade() -> None:
    """Slots may overlap again."""
    op.execute("GRANT UPDATE (taken) ON bookings.slots TO bookings_platform")
    op.execute("REVOKE UPDATE (capacity) ON bookings.slots FROM bookings_platform")
    op.execute(f"REVOKE INSERT ({COLUMNS}), UPDATE (start_time, end_time, capacity) ON bookings.slots FROM bookings_app")
    op.execute("GRANT INSERT, UPDATE ON bookings.slots TO bookings_app")
    op.execute(f"REVOKE UPDATE ({CHANGING}) ON bookings.bookings FROM bookings_app")
    op.execute("GRANT UPDATE ON bookings.bookings TO bookings_app")
    op.execute("DROP TRIGGER slots_apart ON bookings.slots")
    op.execute("DROP FUNCTION bookings.slots_apart()")
