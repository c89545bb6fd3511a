"""An operator may let a referrer leave; `incarnation()` is part of the plan of who asks it. Statements stand beside."""

from pathlib import Path

from alembic import op

from dbcommon.migrate import script

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds a grant that code of before does not use; the function says what it said."""
    for statement in script(Path(__file__).with_suffix(".sql")):
        op.execute(statement)


def downgrade() -> None:
    """Gives the function back as it was."""
    for statement in script(Path(__file__).with_name("0001_initial.sql")):
        if statement.startswith("CREATE FUNCTION identity.incarnation()"):
            op.execute(statement.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
    op.execute("REVOKE DELETE ON identity.referrers FROM identity_platform")
