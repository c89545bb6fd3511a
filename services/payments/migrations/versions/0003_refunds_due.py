"""An account says what is due to be given back, and since when: computed by a trigger in every transaction that changes it."""

from pathlib import Path

from alembic import op

from dbcommon.migrate import script

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds columns that only the trigger writes, whichever code runs, and has it compute them where a booking is cancelled."""
    for statement in script(Path(__file__).with_suffix(".sql")):
        op.execute(statement)


def downgrade() -> None:
    """Nothing is lost: it is all computed."""
    op.execute("DROP TRIGGER accounts_refund_due ON payments.booking_accounts")
    op.execute("DROP FUNCTION payments.accounts_refund_due()")
    op.execute("ALTER TABLE payments.booking_accounts DROP COLUMN refund_due_minor, DROP COLUMN refund_due_time")
