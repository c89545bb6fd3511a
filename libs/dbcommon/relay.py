"""The relay: moves committed events from `outbox` to `events` and gives them dense positions.

Positions go only to rows that one snapshot shows, taken under the lock of the head. If a later event of an entity is in it,
the earlier one is or was: the entity's row lock was passed on only after the earlier one had committed.
"""

import asyncio
from collections.abc import Callable
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from dbcommon.database import Database

BATCH = 500
POLL_SECONDS = 0.05
ROLL_SECONDS = 3600
BEAT_SECONDS = 1.0
"""How often `complete_until` moves while nothing happens."""


class Relay:
    """The relay of one schema; the caller sees to it that one runs, the lock of the head that only one works."""

    def __init__(self, platform: Database, service: str, new_id: Callable[[], UUID]) -> None:
        """`new_id` makes the IDs of epochs."""
        self._platform = platform
        self._service = service
        self._new_id = new_id

    async def run(self) -> None:
        """Endless."""
        beat, rolled = -BEAT_SECONDS, -float(ROLL_SECONDS)
        loop = asyncio.get_running_loop()
        while True:
            if loop.time() - rolled >= ROLL_SECONDS:
                await self._roll()
                rolled = loop.time()
            if loop.time() - beat >= BEAT_SECONDS or await self._waiting():
                moved = await self.step()
                beat = loop.time()
                if moved == BATCH:
                    continue
            await asyncio.sleep(POLL_SECONDS)

    async def step(self) -> int:
        """Moves one batch; how many events it had. A whole batch may have left some behind, a smaller one has not."""
        async with self._platform.transaction() as tx:
            # The clock is read before the snapshot: what was committed before it is in the snapshot.
            clock = await self._epoch(tx)
            moved = int((await tx.execute(text(self._move()), {"clock": clock, "batch": BATCH})).scalar_one())
            if moved < BATCH:
                drained = text(f"UPDATE {self._service}.feed_head SET complete_until = greatest(complete_until, :clock)")
                await tx.execute(drained, {"clock": clock})
        return moved

    async def _waiting(self) -> bool:
        async with self._platform.transaction(read_only=True) as tx:
            found = await tx.execute(text(f"SELECT EXISTS (SELECT FROM {self._service}.outbox)"))
        return bool(found.scalar_one())

    async def _roll(self) -> None:
        async with self._platform.transaction() as tx:
            await tx.execute(text(f"SELECT {self._service}.events_roll()"))

    async def _epoch(self, tx: AsyncConnection) -> object:
        """Locks the head, opens an epoch where this is another life of the database, and reads the relay's clock."""
        lock = (
            f"SELECT h.position, clock_timestamp() AS clock, {self._service}.incarnation() AS incarnation,"
            f" (SELECT e.incarnation FROM {self._service}.epochs e WHERE e.epoch = h.epoch) AS present"
            f" FROM {self._service}.feed_head h FOR UPDATE"
        )
        head = (await tx.execute(text(lock))).one()
        if head.present != head.incarnation:
            epoch = self._new_id()
            begin = f"INSERT INTO {self._service}.epochs (epoch, incarnation, first_position) VALUES (:epoch, :incarnation, :first)"
            await tx.execute(text(begin), {"epoch": epoch, "incarnation": head.incarnation, "first": head.position + 1})
            await tx.execute(text(f"UPDATE {self._service}.feed_head SET epoch = :epoch"), {"epoch": epoch})
        return head.clock

    def _move(self) -> str:
        columns = "event_id, type, entity_id, station_id, version, referent_state, payload"
        return (
            f"WITH taken AS (DELETE FROM {self._service}.outbox WHERE seq IN"
            f" (SELECT seq FROM {self._service}.outbox ORDER BY seq LIMIT :batch) RETURNING seq, {columns}),"
            f" put AS (INSERT INTO {self._service}.events (position, publish_time, epoch, {columns})"
            "   SELECT h.position + row_number() OVER (ORDER BY t.seq), :clock, h.epoch, "
            + ", ".join(f"t.{column.strip()}" for column in columns.split(","))
            + f"  FROM taken t, {self._service}.feed_head h RETURNING position),"
            f" moved AS (UPDATE {self._service}.feed_head SET position = position + (SELECT count(*) FROM put)"
            "   WHERE EXISTS (SELECT FROM put) RETURNING position)"
            " SELECT count(*) FROM put"
        )
