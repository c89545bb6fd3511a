"""The feed: what others learn from this service, as absolute states in an order that holds for each entity.

A change puts its event into `outbox`, in its own transaction, after it holds the lock of the entity's row. One relay moves
committed rows to `events`, with dense positions (see `relay`). Readers ask for positions; no transaction ID is ever looked at.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
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
    insert,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from dbcommon.database import Database
from dbcommon.schema import Access
from dbcommon.tenancy import NO_TENANT
from faults import CursorDiverged, CursorExpired, FeedStale

KEPT_DAYS = 30
AHEAD_DAYS = 7
POLL_SECONDS = 0.05

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of the feed."""

    epoch: UUID
    position: int
    complete_until: datetime


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


def ddl(service: str) -> list[str]:
    """The functions of the feed: `incarnation()` tells one life of a database from the next, `events_roll()` keeps partitions.

    Partitions are made ahead and dropped by their owner, in its name; what was dropped is recorded, not guessed.
    """
    return [
        f"""CREATE FUNCTION {service}.incarnation() RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT extract(epoch FROM pg_postmaster_start_time())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
         || '/' || '{service}.feed_head'::regclass::oid::text
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


async def append(tx: AsyncConnection, outbox: Table, event: Event) -> None:
    """Announces a change in its own transaction. The lock of the entity's row is held by then: that is what orders its events."""
    await tx.execute(
        insert(outbox)
        .inline()
        .values(
            event_id=event.event_id,
            type=event.type,
            entity_id=event.entity_id,
            station_id=event.tenant,
            version=event.version,
            referent_state=event.referent_state,
            payload=event.payload,
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event with its place."""

    event_id: UUID
    type: str
    entity_id: UUID
    station_id: UUID | None
    epoch: UUID
    position: int
    version: int
    referent_state: int
    publish_time: datetime
    payload: bytes


class Feed:
    """Reads the feed of one service, with the role that crosses tenants."""

    def __init__(self, platform: Database, service: str) -> None:
        """Asks nothing yet."""
        self._platform = platform
        self._service = service
        self._wanted = 0
        self._head = asyncio.Condition()
        self._position = -1

    async def head(self) -> Head:
        """The end of the feed; FeedStale until the relay has opened an epoch for this life of the database."""
        statement = (
            f"SELECT h.epoch, h.position, h.complete_until FROM {self._service}.feed_head h"
            f" JOIN {self._service}.epochs e ON e.epoch = h.epoch AND e.incarnation = {self._service}.incarnation()"
        )
        async with self._platform.transaction(read_only=True) as tx:
            row = (await tx.execute(text(statement))).first()
        if row is None:
            raise FeedStale(f"the feed of {self._service} has not begun its epoch yet", feed=self._service)
        return Head(epoch=row.epoch, position=row.position, complete_until=row.complete_until)

    async def start(self, *, after: tuple[UUID, int] | None, after_time: datetime | None, latest: bool) -> tuple[UUID, int]:
        """The place where a stream begins: after a place, at a time, at the end, or at the oldest event kept.

        Raises CursorDiverged where the place is of no known epoch or past its end, CursorExpired where what follows was dropped.
        """
        head = await self.head()
        if latest:
            return head.epoch, head.position
        if after_time is not None:
            statement = f"SELECT min(position) - 1 FROM {self._service}.events WHERE publish_time >= :time"
            async with self._platform.transaction(read_only=True) as tx:
                first: int | None = (await tx.execute(text(statement), {"time": after_time})).scalar_one()
            return head.epoch, head.position if first is None else int(first)
        bounds = (
            "SELECT h.dropped_through, e.first_position, lead(e.first_position) OVER (ORDER BY e.seq) AS next, e.epoch"
            f" FROM {self._service}.epochs e, {self._service}.feed_head h"
        )
        async with self._platform.transaction(read_only=True) as tx:
            epochs = {row.epoch: row for row in await tx.execute(text(bounds))}
        dropped = max(row.dropped_through for row in epochs.values())
        if after is None:
            return head.epoch, dropped
        epoch, position = after
        if epoch not in epochs:
            raise CursorDiverged("the cursor is of an epoch that this feed does not know; resynchronise", last_common_position=0)
        last = head.position if epochs[epoch].next is None else epochs[epoch].next - 1
        if position > last:
            raise CursorDiverged("the cursor is past the end of its epoch; resynchronise", last_common_position=last)
        if position < dropped:
            raise CursorExpired("what follows the cursor is no longer kept; resynchronise", dropped_through=dropped)
        return head.epoch, position

    async def after(
        self, place: tuple[UUID, int], *, types: Sequence[str], tenants: Sequence[UUID], limit: int
    ) -> tuple[Sequence[StoredEvent], tuple[UUID, int]]:
        """The events that follow a place, at most `limit` looked at, and the place after the last of them."""
        statement = (
            "SELECT event_id, type, entity_id, station_id, epoch, position, version, referent_state, publish_time, payload"
            f" FROM {self._service}.events WHERE position > :position ORDER BY position LIMIT :limit"
        )
        async with self._platform.transaction(read_only=True) as tx:
            rows = (await tx.execute(text(statement), {"position": place[1], "limit": limit})).all()
        if not rows:
            return [], place
        wanted = [row for row in rows if (not types or row.type in types) and (not tenants or row.station_id in tenants)]
        return [_stored(row._asdict()) for row in wanted], (rows[-1].epoch, rows[-1].position)

    async def changed(self, position: int, timeout: float) -> None:
        """Returns when the head has passed `position`, or after `timeout` seconds."""
        self._wanted += 1
        try:
            async with asyncio.timeout(timeout), self._head:
                await self._head.wait_for(lambda: self._position > position)
        except TimeoutError:
            return  # nothing happened: what the caller waits for may be exactly that
        finally:
            self._wanted -= 1

    async def watch(self) -> None:
        """Looks at the head while somebody waits for it, endlessly: one query for all subscribers of this process."""
        while True:
            if self._wanted:
                position = (await self.head()).position
                if position != self._position:
                    async with self._head:
                        self._position = position
                        self._head.notify_all()
            await asyncio.sleep(POLL_SECONDS)


def _stored(row: dict[str, object]) -> StoredEvent:
    return StoredEvent(**{**row, "station_id": None if row["station_id"] == NO_TENANT else row["station_id"]})  # type: ignore[arg-type]  # columns carry the names and types of the fields
