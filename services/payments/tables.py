"""The schema of payments, as its migrations make it (a test compares the catalogs)."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from dbcommon import audit, feed, inbox, left, migrate, parked, references, requests
from dbcommon.schema import Access, Schema, metadata_of

metadata = metadata_of("payments")

requests_ = requests.table(metadata)
feed_state = inbox.table(metadata)
left.table(metadata)
parked.tables(metadata)
audit.tables(metadata)
schema_compatibility = migrate.table(metadata)
feed.tables(metadata)
outbox = metadata.tables["payments.outbox"]

known_stations = references.known_table(metadata, "known_stations")


def _counted(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


# The known row of a booking, whose `version` is bookings', and its money, whose version is ours.
booking_accounts = references.known_table(
    metadata,
    "booking_accounts",
    Column("station_id", Uuid, nullable=False),
    Column("customer_id", Uuid, nullable=False),
    Column("currency_code", Text, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("refund_basis_points", Integer),
    _counted("captured_minor"),
    _counted("refunded_minor"),
    _counted("gratuity_minor"),
    _counted("money_version"),
    _counted("refund_due_minor"),
    Column("refund_due_time", DateTime(timezone=True)),
    CheckConstraint("refunded_minor BETWEEN 0 AND captured_minor", name="refunded_minor"),
    CheckConstraint("gratuity_minor >= 0", name="gratuity_minor"),
    UniqueConstraint("station_id", "booking_id"),
    Index("booking_accounts_refund_due_idx", "refund_due_time", postgresql_where=text("refund_due_minor > 0")),
    key="booking_id",
)

payments = Table(
    "payments",
    metadata,
    Column("station_id", Uuid, ForeignKey("payments.known_stations.id"), primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("booking_id", Uuid, nullable=False),
    Column("customer_id", Uuid, nullable=False),
    Column("kind", SmallInteger, CheckConstraint("kind BETWEEN 1 AND 4", name="kind"), nullable=False),
    Column("method", SmallInteger, CheckConstraint("method = 1", name="method"), nullable=False),
    Column("state", SmallInteger, CheckConstraint("state = 1", name="state"), nullable=False),
    Column("amount_minor", BigInteger, CheckConstraint("amount_minor > 0", name="amount_minor"), nullable=False),
    Column("currency_code", Text, nullable=False),
    Column("created_by", Uuid),
    Column("created_by_name", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    ForeignKeyConstraint(
        ["station_id", "booking_id"], ["payments.booking_accounts.station_id", "payments.booking_accounts.booking_id"]
    ),
    Index(None, "station_id", "create_time", "id"),
    Index(None, "station_id", "booking_id", "create_time", "id"),
    Index(None, "booking_id"),
)

_SUMS = ("captured_minor", "refunded_minor", "gratuity_minor", "refund_due_minor", "refund_due_time")
_FACTS = ", ".join(column.name for column in booking_accounts.columns if column.name not in _SUMS)

# Money is what payments sum to: no role of the application may say otherwise. Amounts come from the row and not from NEW, of whose
# types a session keeps plans that a migration does not end.
_COUNTED = """CREATE FUNCTION payments.payments_counted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE payments.booking_accounts a
     SET captured_minor = a.captured_minor + CASE WHEN p.kind = 4 THEN 0 ELSE p.amount_minor END,
         gratuity_minor = a.gratuity_minor + CASE WHEN p.kind = 4 THEN p.amount_minor ELSE 0 END,
         money_version = a.money_version + 1
    FROM payments.payments p
   WHERE p.station_id = NEW.station_id AND p.id = NEW.id AND a.station_id = p.station_id AND a.booking_id = p.booking_id;
  RETURN NULL;
END $$"""

# Only a rise is refused: a total that bookings lowered below what is paid is a fact, and then nothing more is taken.
_OWED = """CREATE FUNCTION payments.accounts_owed() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  was bigint := 0;
  paid bigint := NEW.captured_minor - NEW.refunded_minor;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    was := OLD.captured_minor - OLD.refunded_minor;
  END IF;
  IF paid > NEW.total_minor AND paid > was THEN
    RAISE EXCEPTION 'more than is owed' USING ERRCODE = 'check_violation', CONSTRAINT = 'accounts_not_overpaid';
  END IF;
  RETURN NEW;
END $$"""

# As `Account.refund_due_minor` of the domain. A trigger, because no transaction may change what it is computed from and forget it;
# no generated column, because that could not take a new term in without a rewrite of the table.
_REFUND_DUE = """CREATE FUNCTION payments.accounts_refund_due() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  target bigint := (NEW.captured_minor * coalesce(NEW.refund_basis_points, 0) + 5000) / 10000;
BEGIN
  NEW.refund_due_minor := greatest(0, target - NEW.refunded_minor);
  NEW.refund_due_time := CASE WHEN NEW.refund_due_minor = 0 THEN NULL ELSE coalesce(NEW.refund_due_time, now()) END;
  RETURN NEW;
END $$"""

SCHEMA = Schema(
    service="payments",
    metadata=metadata,
    access={
        "requests": requests.ACCESS,
        **feed.ACCESS,
        "feed_state": inbox.ACCESS,
        "left_epochs": left.ACCESS,
        **parked.ACCESS,
        **audit.ACCESS,
        "schema_compatibility": migrate.ACCESS,
        "known_stations": Access(app=("SELECT",), platform=("SELECT", "INSERT", "UPDATE"), tenant="id"),
        "booking_accounts": Access(
            app=("SELECT", "UPDATE (money_version)"),  # nothing is updated: it is the right to lock
            platform=("SELECT", f"INSERT ({_FACTS})", f"UPDATE ({_FACTS})"),
            tenant="station_id",
        ),
        "payments": Access(app=("SELECT", "INSERT"), platform=("SELECT",), tenant="station_id"),
    },
    after=[
        *feed.ddl("payments", "known_stations", "booking_accounts"),
        *migrate.grants("payments"),
        *references.guard("payments", "payments", "station_id", known=known_stations, owner="identity"),
        *references.guard("payments", "payments", "booking_id", known=booking_accounts, owner="bookings", tenant="station_id"),
        _COUNTED,
        "REVOKE ALL ON FUNCTION payments.payments_counted() FROM PUBLIC",
        "CREATE TRIGGER payments_counted AFTER INSERT ON payments.payments FOR EACH ROW EXECUTE FUNCTION payments.payments_counted()",
        _OWED,
        "REVOKE ALL ON FUNCTION payments.accounts_owed() FROM PUBLIC",
        "CREATE TRIGGER accounts_owed BEFORE INSERT OR UPDATE ON payments.booking_accounts FOR EACH ROW EXECUTE FUNCTION payments.accounts_owed()",
        _REFUND_DUE,
        "REVOKE ALL ON FUNCTION payments.accounts_refund_due() FROM PUBLIC",
        "CREATE TRIGGER accounts_refund_due BEFORE INSERT OR UPDATE ON payments.booking_accounts FOR EACH ROW EXECUTE FUNCTION payments.accounts_refund_due()",
    ],
)
