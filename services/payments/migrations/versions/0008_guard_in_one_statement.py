"""The guards ask in one statement whether they have caught up, and for the lock; statements stand beside."""

from pathlib import Path

from alembic import op

from dbcommon.migrate import script

revision = "0008"
down_revision = "0007"

BEFORE = ("0002_park_events.sql", "0005_purge_references.sql")


def upgrade() -> None:
    """Makes the guards' plans fewer, and `incarnation()` a part of them; they refuse what they refused."""
    for statement in script(Path(__file__).with_suffix(".sql")):
        op.execute(statement)


def downgrade() -> None:
    """Gives the functions back as they were."""
    for name in BEFORE:
        for statement in script(Path(__file__).with_name(name)):
            if statement.startswith("CREATE OR REPLACE FUNCTION"):
                op.execute(statement)
