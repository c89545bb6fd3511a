"""Events that cannot be applied are set aside, and nothing refers to their entities meanwhile; statements stand beside."""

from pathlib import Path

from alembic import op

from dbcommon.migrate import script

revision = "0002"
down_revision = "0001"

NOT_EMPTY = """DO $$ BEGIN
  LOCK TABLE payments.parked_events IN ACCESS EXCLUSIVE MODE;
  IF EXISTS (SELECT FROM payments.parked_events) THEN
    RAISE EXCEPTION 'events lie aside that would be lost: replay or drop them first (python -m payments events)';
  END IF;
END $$"""


def upgrade() -> None:
    """Adds two tables, which only newer code writes, and a condition to the guards, which holds as long as they are empty."""
    for statement in script(Path(__file__).with_suffix(".sql")):
        op.execute(statement)


def downgrade() -> None:
    """Gives the guards back as they were; refuses while events lie aside. The journal of dropped events goes."""
    op.execute(NOT_EMPTY)
    for statement in script(Path(__file__).with_name("0001_initial.sql")):
        if statement.startswith("CREATE FUNCTION") and "_guard() RETURNS" in statement:
            op.execute(statement.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
    for table in ("parked_events", "dropped_events"):
        op.execute(f"DROP TABLE payments.{table}")
