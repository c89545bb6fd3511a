"""Accounts on which a refund is due are found by an index; made without keeping writers out."""

from alembic import op

from dbcommon.migrate import LOCK_TIMEOUT

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Can be run again: an index that was left invalid is dropped first. Waits for whatever is open, so without a limit."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS payments.booking_accounts_refund_due_idx")
        what = "(refund_due_time) WHERE refund_due_minor > 0"
        op.execute(f"CREATE INDEX CONCURRENTLY booking_accounts_refund_due_idx ON payments.booking_accounts {what}")
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")


def downgrade() -> None:
    """Nothing is lost."""
    op.execute("DROP INDEX payments.booking_accounts_refund_due_idx")
