"""A column refers only once it was registered with the owner before the handshake; statements stand beside.

What the guards ask is one statement now, and `incarnation()` a part of its plan.
"""

from pathlib import Path

from alembic import op

from dbcommon.migrate import script

revision = "0009"
down_revision = "0008"

BEFORE = ("0002_park_events.sql", "0005_purge_references.sql")


def upgrade() -> None:
    """Takes for registered what referred before this revision; code of before goes on with that."""
    for statement in script(Path(__file__).with_suffix(".sql")):
        op.execute(statement)


def downgrade() -> None:
    """Gives the functions back as they were."""
    for name in BEFORE:
        for statement in script(Path(__file__).with_name(name)):
            if statement.startswith("CREATE OR REPLACE FUNCTION"):
                op.execute(statement)
    op.execute("ALTER TABLE bookings.feed_state DROP COLUMN ready_columns")
    op.execute("REVOKE DELETE ON bookings.referrers FROM bookings_platform")
