"""Who refers to what is owned here is kept, and which purges are under way; statements stand beside."""

from pathlib import Path

from alembic import op

from dbcommon.migrate import script

revision = "0006"
down_revision = "0005"

NOT_UNDER_WAY = """DO $$ BEGIN
  LOCK TABLE bookings.purges IN ACCESS EXCLUSIVE MODE;
  IF EXISTS (SELECT FROM bookings.purges WHERE purging_time IS NOT NULL) THEN
    RAISE EXCEPTION 'purges are under way that nobody would end: wait until they have ended';
  END IF;
END $$"""


def upgrade() -> None:
    """Adds three tables, which only newer code writes. The index, of a table that may be large, is made while it is written to."""
    for statement in script(Path(__file__).with_suffix(".sql")):
        op.execute(statement)
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS bookings.bookings_id_idx")  # of an attempt that broke off: invalid
        op.execute("CREATE INDEX CONCURRENTLY bookings_id_idx ON bookings.bookings (id)")


def downgrade() -> None:
    """Drops them; refuses while purges are under way. Who refers registers again at its next start."""
    op.execute(NOT_UNDER_WAY)
    op.execute("DROP INDEX bookings.bookings_id_idx")
    for table in ("referrers", "registry", "purges"):
        op.execute(f"DROP TABLE bookings.{table}")
