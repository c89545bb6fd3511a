"""A feed as it is read: where a stream begins, what follows a place, and when there is more."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from dbcommon.database import Database
from dbcommon.tenancy import NO_TENANT
from faults import CursorDiverged, CursorExpired, FeedStale

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
