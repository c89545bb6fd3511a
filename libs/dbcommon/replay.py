"""Who applies what lies aside: the elected process, by itself, ten times each; and an operator, whenever asked."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from dbcommon import parked
from dbcommon.attempts import Failure, Handler, attempt, failure_of
from dbcommon.database import Database, Transaction
from dbcommon.parked import Lane
from dbcommon.statements import Row

POLL_SECONDS = 1.0
LANES_MAX = 100
"""Looked at in one round."""
LANE_MAX = 100
"""Events applied in one transaction: the consumer waits meanwhile."""
LOCK_SECONDS = 10

log = structlog.get_logger()


class NoHandler(Exception):
    """This code applies no events of that type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """What became of a lane."""

    applied: int
    event_id: UUID | None = None
    """The event that fails now, and why; None where the lane is empty."""
    failure: Failure | None = None


class Parked:
    """What lies aside of all feeds that a service follows."""

    def __init__(
        self, platform: Database, service: str, handlers: Mapping[str, Mapping[str, Handler]], decode: Callable[[bytes], Any]
    ) -> None:
        """`handlers` by owner and event type; `decode` reads an event as it was stored."""
        self._platform = platform
        self._service = service
        self._handlers = handlers
        self._decode = decode

    async def run(self) -> None:
        """Tries again what failed, endlessly."""
        while True:
            await self.step()
            await asyncio.sleep(POLL_SECONDS)

    async def step(self) -> None:
        """Tries what is due, once."""
        due = f"SELECT owner, type, entity_id FROM {self._service}.parked_events WHERE next_attempt_time <= now() ORDER BY next_attempt_time LIMIT {LANES_MAX}"
        found = [parked.lane_of(row) for row in await self._platform.look(due)]
        for lane in found:
            try:
                await self._advance(lane, asked=False)
            except Exception as error:
                if failure_of(error) is not None:
                    raise
                log.warning("an event cannot be tried now", **_names(lane), why=repr(error))

    async def heads(self) -> Sequence[Row]:
        """What was tried and failed, in order, each with how many events of its entity are `waiting` behind it."""
        select = (
            f"SELECT h.*, {parked.STATE} AS state, (SELECT count(*) FROM {self._service}.parked_events w"
            "  WHERE (w.owner, w.type, w.entity_id) = (h.owner, h.type, h.entity_id) AND w.seq <> h.seq) AS waiting"
            f" FROM {self._service}.parked_events h WHERE next_attempt_time IS NOT NULL OR parked_time IS NOT NULL ORDER BY h.seq"
        )
        return await self._platform.look(select)

    async def counts(self) -> Sequence[Row]:
        """How many events lie aside by `owner`, `type` and `state`, and for how many `seconds` the oldest of them does."""
        select = (
            f"SELECT owner, type, {parked.STATE} AS state, count(*) AS events,"
            " extract(epoch FROM now() - min(aside_time))::float8 AS seconds"
            f" FROM {self._service}.parked_events GROUP BY 1, 2, 3"
        )
        return await self._platform.look(select)

    async def replay(self, event_id: UUID) -> Advanced | None:
        """Applies an event that lies aside with those of its entity, in order, until one fails; None where there is none."""
        found = await self._find(event_id)
        return None if found is None else await self._advance(found[1], asked=True)

    async def drop(self, event_id: UUID, *, by: str, reason: str) -> Advanced | None:
        """Gives an event up, for the journal, and applies what waited behind it; None where there is none."""
        if (found := await self._find(event_id)) is None:
            return None
        seq, lane = found
        async with self._platform.transaction(lock_seconds=LOCK_SECONDS) as tx:
            await parked.lock(tx, self._service, lane.owner)
            if not await parked.drop(tx, self._service, seq, by=by, reason=reason):
                return None
            await parked.wake(tx, self._service, lane)
        log.warning("an event was dropped", **_names(lane), event_id=str(event_id), by=by)
        return await self._advance(lane, asked=False)

    async def _find(self, event_id: UUID) -> tuple[int, Lane] | None:
        select = f"SELECT seq, owner, type, entity_id FROM {self._service}.parked_events WHERE event_id = :id ORDER BY seq LIMIT 1"
        row = (await self._platform.look(select, {"id": event_id})).first()
        return None if row is None else (row.seq, parked.lane_of(row))

    async def _advance(self, lane: Lane, *, asked: bool) -> Advanced:
        """Applies a lane from its head on until one fails; where it is not `asked`, only if the head is due."""
        applied = 0
        while True:
            async with self._platform.transaction(lock_seconds=LOCK_SECONDS) as tx:
                await parked.lock(tx, self._service, lane.owner)
                rows = await parked.first(tx, self._service, lane, LANE_MAX)
                if not rows or not (asked or rows[0].due):
                    return Advanced(applied=applied)
                done, failure, parks = await self._apply(tx, lane, rows)
            applied += done
            if failure is not None:
                _tell(lane, rows[done], failure, parks=parks)
                return Advanced(applied=applied, event_id=rows[done].event_id, failure=failure)

    async def _apply(self, tx: Transaction, lane: Lane, rows: Sequence[Row]) -> tuple[int, Failure | None, bool]:
        """How many of the rows were applied, why the next one was not, and whether it is parked by that."""
        handler = self._handlers.get(lane.owner, {}).get(lane.type)

        async def handle(tx: Transaction, content: bytes) -> None:
            if handler is None:
                raise NoHandler
            await handler(tx, self._decode(content))

        for done, row in enumerate(rows):
            if failure := await attempt(tx, handle, row.event):
                return done, failure, await parked.fail(tx, self._service, row, failure)
            await parked.take(tx, self._service, row.seq)
        await parked.wake(tx, self._service, lane)
        return len(rows), None, False


def _tell(lane: Lane, row: Row, failure: Failure, *, parks: bool) -> None:
    told = {
        **_names(lane),
        "event_id": str(row.event_id),
        "attempts": row.attempts + 1,
        "error": failure.name,
        "why": failure.sentence,
    }
    if parks:
        log.error("an event is parked: nothing tries it again but `events replay`, and its entity waits", **told)
    else:
        log.warning("an event failed again", **told)


def _names(lane: Lane) -> dict[str, str]:
    return {"owner": lane.owner, "type": lane.type, "entity_id": str(lane.entity_id)}
