"""A resynchronisation that breaks off is remembered by its epoch: whoever goes on in another one has left it."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Adds a column that code of before leaves alone."""
    op.execute("ALTER TABLE payments.feed_state ADD COLUMN resynchronising_epoch UUID")


def downgrade() -> None:
    """Drops it; what broke off is forgotten, as before."""
    op.execute("ALTER TABLE payments.feed_state DROP COLUMN resynchronising_epoch")
