"""A booking knows since when it is EXPIRING, and who decides it by payments' answer may lock the slot whose place it gives back."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds a column that only newer code writes, and to which code of before need not: it makes nothing EXPIRING."""
    op.execute("ALTER TABLE bookings.bookings ADD COLUMN expiring_time TIMESTAMP WITH TIME ZONE")
    check = "CHECK (state <> 3 OR expiring_time IS NOT NULL)"  # checked for rows that are there by the next revision
    op.execute(f"ALTER TABLE bookings.bookings ADD CONSTRAINT bookings_expiring_check {check} NOT VALID")
    op.execute("CREATE POLICY platform_all ON bookings.slots TO bookings_platform USING (true) WITH CHECK (true)")
    op.execute("GRANT SELECT, UPDATE (taken) ON bookings.slots TO bookings_platform")


def downgrade() -> None:
    """Since when bookings are EXPIRING is lost; code of before leaves them so, and newer code asks for them again."""
    op.execute("REVOKE SELECT, UPDATE (taken) ON bookings.slots FROM bookings_platform")
    op.execute("DROP POLICY platform_all ON bookings.slots")
    op.execute("ALTER TABLE bookings.bookings DROP COLUMN expiring_time")
