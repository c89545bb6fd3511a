"""The schema of identity, as its migrations make it (a test compares the catalogs)."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
)  # fmt: skip

from dbcommon import feed, migrate, requests
from dbcommon.references import registering
from dbcommon.schema import Access, Schema, metadata_of
from identity.domain.memberships import MEMBERSHIPS_MAX
from identity.domain.stations import State as StationState
from identity.domain.users import State as UserState

metadata = metadata_of("identity")

requests_ = requests.table(metadata)
schema_compatibility = migrate.table(metadata)
feed.tables(metadata)
outbox = metadata.tables["identity.outbox"]
registering.tables(metadata)


def _time(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


stations = Table(
    "stations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("currency_code", Text, nullable=False),
    Column("state", SmallInteger, CheckConstraint("state BETWEEN 1 AND 5", name="state"), nullable=False),
    Column("version", BigInteger, nullable=False),
    _time("create_time"),
    _time("update_time"),
    _time("delete_time", nullable=True),
    CheckConstraint("(delete_time IS NULL) = (state < 3)", name="delete_time"),
)

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", LargeBinary, nullable=False),
    Column("email_index", LargeBinary, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("platform_role", SmallInteger, CheckConstraint("platform_role BETWEEN 0 AND 2", name="platform_role"), nullable=False),
    Column("state", SmallInteger, CheckConstraint("state BETWEEN 1 AND 4", name="state"), nullable=False),
    Column("version", BigInteger, nullable=False),
    _time("create_time"),
    _time("update_time"),
)

# Of emails that nobody has, too: by the blind index, so that nothing private is in it but the addresses, for half an hour.
login_failures = Table(
    "login_failures",
    metadata,
    Column("email_index", LargeBinary, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("failures", SmallInteger, CheckConstraint("failures > 0", name="failures"), nullable=False),
    _time("last_time"),
    Index(None, "last_time"),
)

memberships = Table(
    "memberships",
    metadata,
    Column("station_id", Uuid, ForeignKey("identity.stations.id"), primary_key=True),
    Column("user_id", Uuid, ForeignKey("identity.users.id"), primary_key=True),
    Column("role", SmallInteger, CheckConstraint("role BETWEEN 1 AND 4", name="role"), nullable=False),
    _time("expire_time", nullable=True),
    Column("version", BigInteger, nullable=False),
    _time("create_time"),
    Index(None, "user_id"),
)

# After the insert, so that the keys have spoken first. The lock of the user's row makes two who add at once count one after
# the other: each statement here has a snapshot of its own. Rows of what is purged stay: both locks also wait for a purge, or
# make it wait, and see whether there is anybody left to be a member.
_PER_USER = f"""CREATE FUNCTION identity.memberships_per_user() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM FROM identity.users u WHERE u.id = NEW.user_id AND u.state < {UserState.PURGED:d} FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the user is purged' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'memberships_user_kept';
  END IF;
  PERFORM FROM identity.stations s WHERE s.id = NEW.station_id AND s.state < {StationState.PURGING:d} FOR SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the station is purged' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'memberships_station_kept';
  END IF;
  IF (SELECT count(*) FROM identity.memberships m WHERE m.user_id = NEW.user_id) > {MEMBERSHIPS_MAX} THEN
    RAISE EXCEPTION 'too many memberships' USING ERRCODE = 'check_violation', CONSTRAINT = 'memberships_per_user';
  END IF;
  RETURN NULL;
END $$"""

SCHEMA = Schema(
    service="identity",
    metadata=metadata,
    access={
        "requests": requests.ACCESS,
        **feed.ACCESS,
        "schema_compatibility": migrate.ACCESS,
        **registering.ACCESS,
        "stations": Access(app=("SELECT",), platform=("SELECT", "INSERT", "UPDATE"), tenant="id"),
        "users": Access(platform=("SELECT", "INSERT", "UPDATE")),
        "login_failures": Access(platform=("SELECT", "INSERT", "UPDATE", "DELETE")),
        "memberships": Access(app=("SELECT", "INSERT"), platform=("SELECT", "DELETE"), tenant="station_id"),
    },
    after=[
        *feed.ddl("identity"),
        *migrate.grants("identity"),
        *registering.ddl("identity"),
        _PER_USER,
        "REVOKE ALL ON FUNCTION identity.memberships_per_user() FROM PUBLIC",
        "CREATE TRIGGER memberships_per_user AFTER INSERT ON identity.memberships FOR EACH ROW EXECUTE FUNCTION identity.memberships_per_user()",
    ],
)
