"""Bookings whose money payments knows nothing of are found by an index."""

from alembic import op

from dbcommon.migrate import index_concurrently

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Keeps nobody out; can be run again."""
    index_concurrently(
        "bookings.bookings_money_unknown_idx", "bookings.bookings (update_time) WHERE paid_minor > 0 AND paid_epoch IS NULL"
    )


def downgrade() -> None:
    """Nothing is lost."""
    op.execute("DROP INDEX bookings.bookings_money_unknown_idx")
