"""The relay: moves committed events from `outbox` to `events` and gives them dense positions.

Positions go only to rows that one snapshot shows, taken under the lock of the head. If a later event of an entity is in it,
the earlier one is or was: the entity's row lock was passed on only after the earlier one had committed.

A backlog is moved in rounds, each step from where the one before ended: what was deleted stays in the index until it is vacuumed,
and from the beginning each step would walk over all of it. A round ends at the last event that its first snapshot shows. Who
commits later than that may be passed over until the next round, and so may nobody who came after them: whoever waited for their row
lock drew a number beyond the end of the round.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

import structlog

from dbcommon.database import Database, Transaction, durably
from dbcommon.wakes import News, Wakes
from faults import LockTimeout

BATCH = 500
POLL_SECONDS = 0.05
ROLL_SECONDS = 3600.0
ROLL_RETRY_SECONDS = 60.0
BEAT_SECONDS = 1.0
"""How often `complete_until` moves while nothing happens."""
SEQ_MAX = 2**63 - 1

log = structlog.get_logger()


class Round(NamedTuple):
    """What is left of a round: the numbers in the outbox that come after what was moved, up to its end."""

    epoch: UUID
    """Numbers of another life of the database say nothing of this one's."""
    after: int
    until: int


class Relay:
    """The relay of one schema; the caller sees to it that one runs, the lock of the head that only one works."""

    def __init__(self, platform: Database, service: str, new_id: Callable[[], UUID], wakes: Wakes | None = None) -> None:
        """`new_id` makes the IDs of epochs. Without `wakes` it looks for itself, every 50 ms."""
        self._wakes = wakes
        self._platform = platform
        self._service = service
        self._new_id = new_id
        self._round: Round | None = None

    async def run(self) -> None:
        """Endless."""
        loop = asyncio.get_running_loop()
        beat = roll = loop.time()
        while True:
            if loop.time() >= roll:
                roll = loop.time() + (ROLL_SECONDS if await self._roll() else ROLL_RETRY_SECONDS)
            if loop.time() >= beat or await self._waiting():
                moved = await self.step()
                beat = loop.time() + BEAT_SECONDS
                if moved >= BATCH:
                    continue
            await self._rest(beat - loop.time())

    async def _rest(self, seconds: float) -> None:
        """Until something was committed, or the next beat is due."""
        if self._wakes is None:
            await asyncio.sleep(POLL_SECONDS)
        else:
            await self._wakes.wait(News.OUTBOX, max(0.0, seconds))

    async def step(self) -> int:
        """Moves a batch or two; how many events they had. A whole batch may have left some behind, less has not."""
        goes_on = self._round is not None
        moved = await self._step()
        if goes_on and self._round is None:  # a round is over: who was passed over in it?
            moved += await self._step()
        return moved

    async def _step(self) -> int:
        async with self._platform.transaction() as tx:
            await durably(tx)  # who has heard of an event may not have its position given to another one after a crash
            # The clock is read before the snapshot: what was committed before it is in the snapshot.
            epoch, clock = await self._epoch(tx)
            here = self._round if self._round and self._round.epoch == epoch else Round(epoch, 0, SEQ_MAX)
            values = {"clock": clock, "batch": BATCH, "after": here.after, "until": here.until}
            row = (await tx.execute(self._move(), values)).one()
            moved = int(row.moved)
            if moved < BATCH and here.after == 0:
                drained = f"UPDATE {self._service}.feed_head SET complete_until = :clock"
                await tx.execute(drained, {"clock": clock})
        if moved and self._wakes is not None:
            self._wakes.tell(News.EVENTS)
        self._round = Round(epoch, row.reached, min(row.last, here.until)) if moved == BATCH else None
        return moved

    async def _waiting(self) -> bool:
        first = f"SELECT seq FROM {self._service}.outbox ORDER BY seq LIMIT 1"  # EXISTS would read all pages that nobody vacuumed
        return (await self._platform.look(first)).first() is not None

    async def _roll(self) -> bool:
        """Makes partitions ahead and drops old ones; whether it could: who reads them for long, as a backup does, is waited for later.

        Days are there in advance, and the feed goes on meanwhile.
        """
        try:
            async with self._platform.transaction() as tx:
                await tx.execute(f"SELECT {self._service}.events_roll()")
        except LockTimeout:
            log.warning("somebody reads the feed for so long that its partitions cannot be rolled now", service=self._service)
            return False
        return True

    async def _epoch(self, tx: Transaction) -> tuple[UUID, object]:
        """Locks the head, opens an epoch where this is another life of the database; gives it, and the relay's clock."""
        lock = (
            f"SELECT h.epoch, h.position, clock_timestamp() AS clock, {self._service}.incarnation() AS incarnation,"
            f" (SELECT e.incarnation FROM {self._service}.epochs e WHERE e.epoch = h.epoch) AS present"
            f" FROM {self._service}.feed_head h FOR UPDATE"
        )
        head = (await tx.execute(lock)).one()
        epoch: UUID = head.epoch
        if head.present != head.incarnation:
            epoch = self._new_id()
            begin = f"INSERT INTO {self._service}.epochs (epoch, incarnation, first_position) VALUES (:epoch, :incarnation, :first)"
            await tx.execute(begin, {"epoch": epoch, "incarnation": head.incarnation, "first": head.position + 1})
            await tx.execute(f"UPDATE {self._service}.feed_head SET epoch = :epoch", {"epoch": epoch})
        return epoch, head.clock

    def _move(self) -> str:
        columns = "event_id, type, entity_id, station_id, version, referent_state, payload"
        return (
            f"WITH taken AS (DELETE FROM {self._service}.outbox WHERE seq IN (SELECT seq FROM {self._service}.outbox"
            f" WHERE seq > :after AND seq <= :until ORDER BY seq LIMIT :batch) RETURNING seq, {columns}),"
            f" put AS (INSERT INTO {self._service}.events (position, publish_time, epoch, {columns})"
            "   SELECT h.position + row_number() OVER (ORDER BY t.seq), :clock, h.epoch, "
            + ", ".join(f"t.{column.strip()}" for column in columns.split(","))
            + f"  FROM taken t, {self._service}.feed_head h RETURNING position),"
            f" moved AS (UPDATE {self._service}.feed_head SET position = position + (SELECT count(*) FROM put)"
            "   WHERE EXISTS (SELECT FROM put) RETURNING position)"
            f" SELECT count(*) AS moved, max(seq) AS reached, (SELECT max(seq) FROM {self._service}.outbox) AS last FROM taken"
        )
