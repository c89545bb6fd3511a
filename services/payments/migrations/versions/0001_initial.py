"""The first tables of payments; the statements stand in the file beside."""

from pathlib import Path

from alembic import op

from dbcommon.migrate import drop_everything, script

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes everything."""
    for statement in script(Path(__file__).with_suffix(".sql")):
        op.execute(statement)


def downgrade() -> None:
    """Drops everything: nothing is older."""
    for statement in drop_everything("payments"):
        op.execute(statement)
