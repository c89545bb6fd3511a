"""Users can be on their way out, and nobody becomes a member of what is purged; functions stand beside."""

from pathlib import Path

from alembic import op

from dbcommon.migrate import script

revision = "0004"
down_revision = "0003"

NOT_UNDER_WAY = """DO $$ BEGIN
  LOCK TABLE identity.users IN SHARE ROW EXCLUSIVE MODE;
  IF EXISTS (SELECT FROM identity.users WHERE state = 4) THEN
    RAISE EXCEPTION 'users are being purged: wait until that has ended';
  END IF;
END $$"""


def upgrade() -> None:
    """Widens the check of a user's state, which every row passes that passed before: there is nothing to look at twice.

    There are few users, so checking them at once holds nobody up.
    """
    _check("state BETWEEN 1 AND 4")
    op.execute("GRANT DELETE ON identity.memberships TO identity_platform")
    for statement in script(Path(__file__).with_suffix(".sql")):
        op.execute(statement)


def downgrade() -> None:
    """Gives check and trigger back as they were; refuses while users are being purged. What is PURGED stays so."""
    op.execute(NOT_UNDER_WAY)
    _check("state BETWEEN 1 AND 3")
    op.execute("REVOKE DELETE ON identity.memberships FROM identity_platform")
    for statement in script(Path(__file__).with_name("0001_initial.sql")):
        if statement.startswith("CREATE FUNCTION identity.memberships_per_user"):
            op.execute(statement.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))


def _check(condition: str) -> None:
    op.execute(
        f"ALTER TABLE identity.users DROP CONSTRAINT users_state_check, ADD CONSTRAINT users_state_check CHECK ({condition})"
    )
