"""Bookings that wait for their deposit, or for payments' answer, are found by an index; made without keeping writers out."""

from alembic import op

from dbcommon.migrate import LOCK_TIMEOUT

revision = "0004"
down_revision = "0003"

INDEXES = {
    "bookings_pending_idx": "(deposit_deadline_time) WHERE state = 2",
    "bookings_expiring_idx": "(update_time) WHERE state = 3",
}


def upgrade() -> None:
    """Can be run again: an index that was left invalid is dropped first. Waits for whatever is open, so without a limit.

    What is EXPIRING already comes from a downgrade.
    """
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        for name, what in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS bookings.{name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON bookings.bookings {what}")
        op.execute("UPDATE bookings.bookings SET expiring_time = update_time WHERE state = 3 AND expiring_time IS NULL")
        op.execute("ALTER TABLE bookings.bookings VALIDATE CONSTRAINT bookings_expiring_check")
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")


def downgrade() -> None:
    """Nothing is lost."""
    for name in INDEXES:
        op.execute(f"DROP INDEX bookings.{name}")
