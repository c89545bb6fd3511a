"""Payments move the money of accounts by a trigger, and no role of the application may."""

from alembic import op

revision = "0009"
down_revision = "0008"

FACTS = (
    "booking_id, epoch, version, state, fence, gone, station_id, customer_id, currency_code, total_minor,"
    " refund_basis_points, money_version"
)
COUNTED = """CREATE FUNCTION payments.payments_counted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE payments.booking_accounts a
     SET captured_minor = a.captured_minor + CASE WHEN p.kind = 4 THEN 0 ELSE p.amount_minor END,
         gratuity_minor = a.gratuity_minor + CASE WHEN p.kind = 4 THEN p.amount_minor ELSE 0 END,
         money_version = a.money_version + 1
    FROM payments.payments p
   WHERE p.station_id = NEW.station_id AND p.id = NEW.id AND a.station_id = p.station_id AND a.booking_id = p.booking_id;
  RETURN NULL;
END $$"""
TRIGGER = (
    "CREATE TRIGGER payments_counted AFTER INSERT ON payments.payments FOR EACH ROW EXECUTE FUNCTION payments.payments_counted()"
)


def upgrade() -> None:
    """Code of before would count what the trigger has counted: it may do that no more, and does not serve any more."""
    op.execute(COUNTED)
    op.execute("REVOKE ALL ON FUNCTION payments.payments_counted() FROM PUBLIC")
    op.execute(TRIGGER)
    op.execute("REVOKE UPDATE (captured_minor, gratuity_minor) ON payments.booking_accounts FROM payments_app")
    op.execute("REVOKE INSERT, UPDATE ON payments.booking_accounts FROM payments_platform")
    op.execute(f"GRANT INSERT ({FACTS}), UPDATE ({FACTS}) ON payments.booking_accounts TO payments_platform")
    op.execute("UPDATE payments.schema_compatibility SET compatible_from = '0009'")


def downgrade() -> None:
    """Calls count the money again."""
    op.execute("UPDATE payments.schema_compatibility SET compatible_from = '0001'")
    op.execute(f"REVOKE INSERT ({FACTS}), UPDATE ({FACTS}) ON payments.booking_accounts FROM payments_platform")
    op.execute("GRANT INSERT, UPDATE ON payments.booking_accounts TO payments_platform")
    op.execute("GRANT UPDATE (captured_minor, gratuity_minor) ON payments.booking_accounts TO payments_app")
    op.execute("DROP TRIGGER payments_counted ON payments.payments")
    op.execute("DROP FUNCTION payments.payments_counted()")
