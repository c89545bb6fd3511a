"""What audits of references find is kept, and what is repaired is written down; statements stand beside."""

from pathlib import Path

from alembic import op

from dbcommon.migrate import script

revision = "0006"
down_revision = "0005"

NOTHING_REPAIRED = """DO $$ BEGIN
  LOCK TABLE payments.reference_repairs IN ACCESS EXCLUSIVE MODE;
  IF EXISTS (SELECT FROM payments.reference_repairs) THEN
    RAISE EXCEPTION 'the journal of repairs would be lost: keep it elsewhere, and empty it first';
  END IF;
END $$"""


def upgrade() -> None:
    """Adds two tables, which only newer code writes."""
    for statement in script(Path(__file__).with_suffix(".sql")):
        op.execute(statement)


def downgrade() -> None:
    """Drops them; refuses while the journal holds what was deleted. What was found is found again."""
    op.execute(NOTHING_REPAIRED)
    for table in ("dangling_references", "reference_repairs"):
        op.execute(f"DROP TABLE payments.{table}")
