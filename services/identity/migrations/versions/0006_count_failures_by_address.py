"""Failed logins are counted by email and address: five of anybody locked the account out, whoever it belongs to."""

from alembic import op

revision = "0006"
down_revision = "0005"

TABLE = """CREATE TABLE identity.login_failures (
    email_index BYTEA NOT NULL,
    address TEXT NOT NULL,
    failures SMALLINT NOT NULL,
    last_time TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT login_failures_pkey PRIMARY KEY (email_index, address),
    CONSTRAINT login_failures_failures_check CHECK (failures > 0)
)"""


def upgrade() -> None:
    """Code of before counts in columns that are gone: it does not serve any more. Who was locked out may try again."""
    op.execute(TABLE)
    op.execute("CREATE INDEX login_failures_last_time_idx ON identity.login_failures (last_time)")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON identity.login_failures TO identity_platform")
    op.execute("ALTER TABLE identity.users DROP COLUMN failed_logins, DROP COLUMN locked_until")
    op.execute("UPDATE identity.schema_compatibility SET compatible_from = '0006'")


def downgrade() -> None:
    """Nobody is locked out then."""
    op.execute("UPDATE identity.schema_compatibility SET compatible_from = '0001'")
    op.execute("ALTER TABLE identity.users ADD COLUMN failed_logins SMALLINT DEFAULT 0 NOT NULL")
    op.execute("ALTER TABLE identity.users ADD COLUMN locked_until TIMESTAMP WITH TIME ZONE")
    op.execute("ALTER TABLE identity.users ADD CONSTRAINT users_failed_logins_check CHECK (failed_logins >= 0)")
    op.execute("DROP TABLE identity.login_failures")
