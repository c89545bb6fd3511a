"""That a thing is gone stands in its known row, and what refers to it can be counted; statements stand beside."""

from pathlib import Path

from alembic import op

from dbcommon.migrate import index_concurrently, script

revision = "0005"
down_revision = "0004"

KNOWN = {"known_stations": "id", "booking_accounts": "booking_id"}
NOTHING_DUE = """DO $$ BEGIN
  IF EXISTS (SELECT FROM payments.known_stations WHERE gone AND state <> 4)
     OR EXISTS (SELECT FROM payments.booking_accounts WHERE gone AND state <> 4) THEN
    RAISE EXCEPTION 'things are gone whose rows here are not removed yet: let the service finish first';
  END IF;
END $$"""


def upgrade() -> None:
    """Adds what only newer code writes. Each statement can be repeated up to the first that is in the revision's transaction."""
    for table, key in KNOWN.items():
        with op.get_context().autocommit_block():
            op.execute(f"ALTER TABLE payments.{table} ADD COLUMN IF NOT EXISTS gone BOOLEAN DEFAULT false NOT NULL")
        index_concurrently(f"payments.{table}_gone_idx", f"payments.{table} ({key}) WHERE gone AND state = 3")
    index_concurrently("payments.payments_booking_id_idx", "payments.payments (booking_id)")
    for statement in script(Path(__file__).with_suffix(".sql")):
        op.execute(statement)


def downgrade() -> None:
    """Gives the function and the grants back as they were; refuses while something is due, which older code does not know."""
    op.execute(NOTHING_DUE)
    for statement in script(Path(__file__).with_name("0001_initial.sql")):
        if statement.startswith("CREATE FUNCTION payments.incarnation()"):
            op.execute(statement.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
    op.execute("DROP INDEX payments.payments_booking_id_idx")
    op.execute("DROP TABLE payments.left_epochs")
    op.execute("ALTER TABLE payments.feed_state DROP COLUMN resynchronisation")
    for table in KNOWN:
        op.execute(f"ALTER TABLE payments.{table} DROP COLUMN gone")
