"""A feed as it is read: where a stream begins, what follows a place, and when there is more."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from dbcommon.database import Database, Transaction
from dbcommon.feed.places import Extent, Place
from dbcommon.tenancy import NO_TENANT
from dbcommon.wakes import News, Wakes
from faults import CursorExpired, FeedStale

POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of the feed."""

    epoch: UUID
    position: int
    complete_until: datetime


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

    def __init__(self, platform: Database, service: str, wakes: Wakes | None = None) -> None:
        """Asks nothing yet. Without `wakes` it looks for itself, every 50 ms."""
        self._wakes = wakes
        self._platform = platform
        self._service = service
        self._wanted = 0
        self._head = asyncio.Condition()
        self._position = -1

    async def head(self) -> Head:
        """The end of the feed; FeedStale until the relay has opened an epoch for this life of the database: no checks till then."""
        statement = (
            f"SELECT h.epoch, h.position, h.complete_until FROM {self._service}.feed_head h"
            f" JOIN {self._service}.epochs e ON e.epoch = h.epoch AND e.incarnation = {self._service}.incarnation()"
        )
        row = (await self._platform.look(statement)).first()
        if row is None:
            raise FeedStale(f"the feed of {self._service} has not begun its epoch yet", feed=self._service)
        return Head(epoch=row.epoch, position=row.position, complete_until=row.complete_until)

    async def start(self, *, after: Place | None, after_time: datetime | None, latest: bool) -> Place:
        """The place where a stream begins: after a place, at a time, at the end, or at the oldest event kept.

        Raises CursorDiverged and CursorExpired as `Extent.check`, the latter also where the time was dropped, and FeedStale.
        """
        head = await self.head()  # read first: what is published from now on comes after it
        if latest:
            return head.epoch, head.position
        async with self._platform.transaction(read_only=True) as tx:
            position = None if after_time is None else await self._position_at(tx, after_time)
            extent = await self._extent(tx)
            if after is not None:
                extent.check(after)
                return after
            if after_time is None:
                return extent.at(extent.dropped_through)
            # Partitions cannot be dropped meanwhile: this transaction has read `events`.
            if extent.dropped_through and after_time < await self._kept_since(tx):
                raise CursorExpired("that time is no longer kept; resynchronise", dropped_through=extent.dropped_through)
        return extent.at(head.position if position is None else position)

    async def after(
        self, place: Place, *, types: Sequence[str], tenants: Sequence[UUID], limit: int
    ) -> tuple[Sequence[StoredEvent], Place]:
        """The events that follow a place, at most `limit` looked at, and the place after the last of them.

        Raises as `Extent.check` where they do not follow it: what does was dropped meanwhile, or is of another past.
        """
        statement = (
            "SELECT event_id, type, entity_id, station_id, epoch, position, version, referent_state, publish_time, payload"
            f" FROM {self._service}.events WHERE position > :position ORDER BY position LIMIT :limit"
        )
        async with self._platform.transaction(read_only=True) as tx:
            rows = await tx.execute(statement, {"position": place[1], "limit": limit})
            dense = not rows or rows[-1].position == place[1] + len(rows)
            if not dense or (rows and rows[0].epoch != place[0]):
                (await self._extent(tx)).check(place)
        if not dense:
            raise CursorExpired("what follows the cursor is not there; resynchronise")
        if not rows:
            return [], place
        wanted = [row for row in rows if (not types or row.type in types) and (not tenants or row.station_id in tenants)]
        return [_stored(dict(row)) for row in wanted], (rows[-1].epoch, rows[-1].position)

    async def complete_until(self) -> datetime | None:
        """How far the relay has come, whichever life of the database that was in; None before its first step."""
        statement = f"SELECT complete_until FROM {self._service}.feed_head WHERE isfinite(complete_until)"
        until: datetime | None = (await self._platform.look(statement)).value_or_none()
        return until

    async def changed(self, position: int, timeout: float) -> None:
        """Returns when the head has passed `position`, or after `timeout` seconds."""
        self._wanted += 1
        if self._wakes is not None:
            self._wakes.look(News.EVENTS)
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
            if self._wakes is None:
                await asyncio.sleep(POLL_SECONDS)
            else:
                await self._wakes.wait(News.EVENTS)

    async def _extent(self, tx: Transaction) -> Extent:
        statement = (
            "SELECT e.epoch, e.first_position, h.position, h.dropped_through"
            f" FROM {self._service}.epochs e, {self._service}.feed_head h ORDER BY e.seq"
        )
        rows = await tx.execute(statement)
        epochs = [(row.epoch, row.first_position) for row in rows]
        return Extent(epochs=epochs, position=rows[-1].position, dropped_through=rows[-1].dropped_through)

    async def _position_at(self, tx: Transaction, time: datetime) -> int | None:
        """The position before the first event that was published at or after a time; None where there is none."""
        statement = f"SELECT min(position) - 1 FROM {self._service}.events WHERE publish_time >= :time"
        position: int | None = (await tx.execute(statement, {"time": time})).value()
        return position

    async def _kept_since(self, tx: Transaction) -> datetime:
        """The beginning of the oldest partition: nothing that was published since then was dropped."""
        statement = (
            "SELECT to_date(right(min(c.relname), 8), 'YYYYMMDD')::timestamp AT TIME ZONE 'UTC'"
            f" FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = '{self._service}.events'::regclass"
        )
        since: datetime = (await tx.execute(statement)).value()
        return since


def _stored(row: dict[str, object]) -> StoredEvent:
    return StoredEvent(**{**row, "station_id": None if row["station_id"] == NO_TENANT else row["station_id"]})  # type: ignore[arg-type]  # columns carry the names and types of the fields
