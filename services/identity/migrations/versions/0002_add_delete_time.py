"""Stations can be deleted: `delete_time` says since when, and is there while they are."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the column, which code of before leaves empty and never has to fill: it deletes nothing.

    What is deleted already comes from a downgrade. There are few stations, so checking them at once holds nobody up.
    """
    op.execute("ALTER TABLE identity.stations ADD COLUMN delete_time TIMESTAMP WITH TIME ZONE")
    op.execute("UPDATE identity.stations SET delete_time = update_time WHERE state >= 3")
    op.execute(
        "ALTER TABLE identity.stations ADD CONSTRAINT stations_delete_time_check CHECK ((delete_time IS NULL) = (state < 3))"
    )


def downgrade() -> None:
    """Drops the column with its check; states stay."""
    op.execute("ALTER TABLE identity.stations DROP COLUMN delete_time")
