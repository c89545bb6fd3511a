"""What a feed is made of: its tables, the functions that keep them, and how a change is announced."""

from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)

from dbcommon.database import Transaction
from dbcommon.schema import Access
from dbcommon.statements import lists
from dbcommon.tenancy import NO_TENANT

KEPT_DAYS = 30
AHEAD_DAYS = 7

ACCESS = {
    "outbox": Access(app=("INSERT",), platform=("SELECT", "INSERT", "DELETE"), tenant="station_id"),
    "events": Access(platform=("SELECT", "INSERT")),
    "feed_head": Access(platform=("SELECT", "UPDATE")),
    "epochs": Access(platform=("SELECT", "INSERT")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A change of an entity, as its owner announces it."""

    event_id: UUID
    type: str
    entity_id: UUID
    tenant: UUID = NO_TENANT
    version: int
    referent_state: int = 0
    """A value of `teppan.common.v1.ReferentState`; 0 where nothing can refer to the entity."""
    payload: bytes
    """A serialised `google.protobuf.Any`: the entity as it is now, without private data."""


def tables(metadata: MetaData) -> None:
    """Adds `outbox`, `events`, `feed_head` and `epochs` to a service's schema."""
    Table("outbox", metadata, Column("seq", BigInteger, Identity(always=True, cache=1), primary_key=True), *_event_columns())
    Table(
        "events",
        metadata,
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        Column("publish_time", DateTime(timezone=True), primary_key=True),
        Column("epoch", Uuid, nullable=False),
        *_event_columns(),
        postgresql_partition_by="RANGE (publish_time)",
    )
    Table(
        "feed_head",
        metadata,
        Column("only", Boolean, primary_key=True, server_default=text("true")),
        Column("epoch", Uuid),
        Column("position", BigInteger, nullable=False, server_default=text("0")),
        Column("complete_until", DateTime(timezone=True), nullable=False, server_default=text("'-infinity'")),
        Column("dropped_through", BigInteger, nullable=False, server_default=text("0")),
    )
    Table(
        "epochs",
        metadata,
        Column("epoch", Uuid, primary_key=True),
        Column("incarnation", Text, nullable=False),
        Column("first_position", BigInteger, nullable=False),
        Column("seq", BigInteger, Identity(always=True), nullable=False),
    )


def _event_columns() -> list[Column[object]]:
    return [
        Column("event_id", Uuid, nullable=False),
        Column("type", Text, nullable=False),
        Column("entity_id", Uuid, nullable=False),
        Column("station_id", Uuid, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("referent_state", SmallInteger, nullable=False),
        Column("payload", LargeBinary, nullable=False),
    ]


def ddl(service: str, *known: str) -> list[str]:
    """The functions of the feed: `incarnation()` tells one life of a database from the next, `events_roll()` keeps partitions.

    A life ends for the feed and for the `known` tables at once: whichever of them is made anew, both begin anew.
    Guards ask it with every row that refers: it is VOLATILE, as what it calls, and has no settings, so that it is part of their plans;
    and looks names up each time (`to_regclass`), which a plan would not.
    Partitions are made ahead and dropped by their owner, in its name; what was dropped is recorded, not guessed.
    """
    identities = "".join(f" || '/' || to_regclass('{service}.{table}')::oid::text" for table in known)
    return [
        f"""CREATE FUNCTION {service}.incarnation() RETURNS text LANGUAGE sql AS $$
  SELECT extract(epoch FROM pg_postmaster_start_time())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
         || '/' || to_regclass('{service}.feed_head')::oid::text{identities}
$$""",
        f"""CREATE FUNCTION {service}.events_roll() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  day date;
  name text;
  dropped bigint;
BEGIN
  FOR day IN SELECT (now() AT TIME ZONE 'UTC')::date + n FROM generate_series(-1, {AHEAD_DAYS}) n LOOP
    name := 'events_' || to_char(day, 'YYYYMMDD');
    IF to_regclass('{service}.' || name) IS NULL THEN
      EXECUTE format('CREATE TABLE {service}.%I PARTITION OF {service}.events FOR VALUES FROM (%L) TO (%L)',
                     name, day::text || ' 00:00+00', (day + 1)::text || ' 00:00+00');
    END IF;
  END LOOP;
  FOR name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = '{service}.events'::regclass
                 AND c.relname < 'events_' || to_char((now() AT TIME ZONE 'UTC')::date - {KEPT_DAYS}, 'YYYYMMDD') LOOP
    EXECUTE format('SELECT max(position) FROM {service}.%I', name) INTO dropped;
    UPDATE {service}.feed_head SET dropped_through = greatest(dropped_through, coalesce(dropped, 0));
    EXECUTE format('DROP TABLE {service}.%I', name);
  END LOOP;
END $$""",
        f"REVOKE ALL ON FUNCTION {service}.events_roll() FROM PUBLIC",
        f"REVOKE ALL ON FUNCTION {service}.incarnation() FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION {service}.events_roll() TO {service}_platform",
        f"GRANT EXECUTE ON FUNCTION {service}.incarnation() TO {service}_platform, {service}_app",
        f"INSERT INTO {service}.feed_head DEFAULT VALUES",
        f"SELECT {service}.events_roll()",
    ]


def forget_epoch(service: str) -> str:
    """The statement after data were restored into tables that stayed: what was announced since is of no epoch that goes on.

    `incarnation()` sees tables that were made anew, and not rows.
    """
    return f"UPDATE {service}.feed_head SET epoch = NULL"


async def append(tx: Transaction, outbox: Table, *events: Event) -> None:
    """Announces changes in their own transaction. The lock of each entity's row is held by then: that is what orders its events."""
    await tx.execute(*appending(tx, outbox, *events))


def appending(tx: Transaction, outbox: Table, *events: Event) -> tuple[str, dict[str, Any]]:
    """The statement of `append` and its parameters, for who writes the change in the same one. Their names begin with `event_`."""
    tx.announces = True
    rows = [
        {
            "event_id": event.event_id,
            "event_type": event.type,
            "event_entity_id": event.entity_id,
            "event_station_id": event.tenant,
            "event_version": event.version,
            "event_referent_state": event.referent_state,
            "event_payload": event.payload,
        }
        for event in events
    ]
    return _appending(outbox), lists(rows)


@cache
def _appending(outbox: Table) -> str:
    return (
        f"INSERT INTO {outbox.fullname} (event_id, type, entity_id, station_id, version, referent_state, payload)"
        " SELECT * FROM unnest(CAST(:event_id AS uuid[]), CAST(:event_type AS text[]), CAST(:event_entity_id AS uuid[]),"
        " CAST(:event_station_id AS uuid[]), CAST(:event_version AS bigint[]), CAST(:event_referent_state AS smallint[]),"
        " CAST(:event_payload AS bytea[]))"
    )


async def present_epoch(tx: Transaction, service: str) -> UUID | None:
    """The epoch of this life of the database; None until the relay has opened it."""
    statement = f"SELECT e.epoch FROM {service}.feed_head h JOIN {service}.epochs e ON e.epoch = h.epoch AND e.incarnation = {service}.incarnation()"
    epoch: UUID | None = (await tx.execute(statement)).value_or_none()
    return epoch
