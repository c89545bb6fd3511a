"""`incarnation()` becomes part of the plans of who asks it; the statement stands beside."""

from pathlib import Path

from alembic import op

from dbcommon.migrate import script

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Gives it no settings, and the volatility of what it calls; it says what it said."""
    for statement in script(Path(__file__).with_suffix(".sql")):
        op.execute(statement)


def downgrade() -> None:
    """Gives it back as it was."""
    for statement in script(Path(__file__).with_name("0001_initial.sql")):
        if statement.startswith("CREATE FUNCTION identity.incarnation()"):
            op.execute(statement.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
