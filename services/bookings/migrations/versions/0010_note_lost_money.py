"""Money that payments has lost in a restore is noted, for operators."""

from alembic import op

revision = "0010"
down_revision = "0009"

TABLE = """CREATE TABLE bookings.lost_money (
    booking_id UUID NOT NULL,
    station_id UUID NOT NULL,
    paid_minor BIGINT NOT NULL,
    found_time TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    settled_time TIMESTAMP WITH TIME ZONE,
    CONSTRAINT lost_money_pkey PRIMARY KEY (booking_id)
)"""


def upgrade() -> None:
    """Adds a table that code of before does not know."""
    op.execute(TABLE)
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON bookings.lost_money TO bookings_platform")


def downgrade() -> None:
    """What was noted is in the log too."""
    op.execute("DROP TABLE bookings.lost_money")
