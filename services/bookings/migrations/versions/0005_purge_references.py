"""What refers to a thing that is gone is deleted or emptied: that it is due stands in its known row; statements stand beside."""

from pathlib import Path

from alembic import op

from dbcommon.migrate import index_concurrently, script

revision = "0005"
down_revision = "0004"

KNOWN = {"known_stations": "id", "known_users": "id"}
NOTHING_DUE = """DO $$ BEGIN
  IF EXISTS (SELECT FROM bookings.known_stations WHERE gone AND state <> 4)
     OR EXISTS (SELECT FROM bookings.known_users WHERE gone AND state <> 4) THEN
    RAISE EXCEPTION 'things are gone whose rows here are not removed yet: let the service finish first';
  END IF;
END $$"""


def upgrade() -> None:
    """Adds what only newer code writes. Each statement can be repeated up to the first that is in the revision's transaction."""
    for table, key in KNOWN.items():
        with op.get_context().autocommit_block():
            op.execute(f"ALTER TABLE bookings.{table} ADD COLUMN IF NOT EXISTS gone BOOLEAN DEFAULT false NOT NULL")
        index_concurrently(f"bookings.{table}_gone_idx", f"bookings.{table} ({key}) WHERE gone AND state = 3")
    index_concurrently("bookings.customers_user_id_idx", "bookings.customers (user_id) WHERE user_id IS NOT NULL")
    for statement in script(Path(__file__).with_suffix(".sql")):
        op.execute(statement)


def downgrade() -> None:
    """Gives the function and the grants back as they were; refuses while something is due, which older code does not know."""
    op.execute(NOTHING_DUE)
    for statement in script(Path(__file__).with_name("0001_initial.sql")):
        if statement.startswith("CREATE FUNCTION bookings.incarnation()"):
            op.execute(statement.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
    op.execute("REVOKE UPDATE (user_id) ON bookings.customers FROM bookings_platform")
    op.execute("REVOKE DELETE ON bookings.slots FROM bookings_platform")
    op.execute("DROP POLICY platform_all ON bookings.schedules")
    op.execute("REVOKE SELECT, DELETE ON bookings.schedules FROM bookings_platform")
    for fact in ("code", "time_zone", "currency_code"):
        op.execute(f"ALTER TABLE bookings.known_stations ALTER COLUMN {fact} DROP DEFAULT")
    op.execute("DROP INDEX bookings.customers_user_id_idx")
    op.execute("DROP TABLE bookings.left_epochs")
    op.execute("ALTER TABLE bookings.feed_state DROP COLUMN resynchronisation")
    for table in KNOWN:
        op.execute(f"ALTER TABLE bookings.{table} DROP COLUMN gone")
