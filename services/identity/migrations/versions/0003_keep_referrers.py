"""Who refers to what is owned here is kept, and which purges are under way; statements stand beside."""

from pathlib import Path

from alembic import op

from dbcommon.migrate import script

revision = "0003"
down_revision = "0002"

NOT_UNDER_WAY = """DO $$ BEGIN
  LOCK TABLE identity.purges IN ACCESS EXCLUSIVE MODE;
  IF EXISTS (SELECT FROM identity.purges WHERE purging_time IS NOT NULL) THEN
    RAISE EXCEPTION 'purges are under way that nobody would end: wait until they have ended';
  END IF;
END $$"""


def upgrade() -> None:
    """Adds three tables, which only newer code writes."""
    for statement in script(Path(__file__).with_suffix(".sql")):
        op.execute(statement)


def downgrade() -> None:
    """Drops them; refuses while purges are under way. Who refers registers again at its next start."""
    op.execute(NOT_UNDER_WAY)
    for table in ("referrers", "registry", "purges"):
        op.execute(f"DROP TABLE identity.{table}")
