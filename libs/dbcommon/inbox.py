"""What this service learns from others: a cursor in its own schema that moves in the transaction that applies the events.

An event that fails is set aside in that transaction (`parked`): it keeps the later ones of its entity back, and no others.

`feed_state` also says how far another service's feed is known to be complete (staleness), and since which life of this
database everything up to the owner's head has been applied, and for which columns that had been registered by then (readiness,
held by the triggers of `references`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

import structlog
from sqlalchemy import ARRAY, BigInteger, Column, DateTime, MetaData, Table, Text, Uuid, text

from clocks import Completeness
from dbcommon import left, parked
from dbcommon.attempts import Failure, Handler, attempt, failure_of
from dbcommon.database import Database, Transaction
from dbcommon.parked import Lane
from dbcommon.references.known import KnownRows
from dbcommon.resync import Page, Resync, Superseded, Unsaid
from dbcommon.schema import Access
from faults import EpochLeft, FeedStale

STALE_SECONDS = 30
WATCH_SECONDS = 0.5
ACCESS = Access(platform=("SELECT", "INSERT", "UPDATE"))

log = structlog.get_logger()


def table(metadata: MetaData) -> Table:
    """The `feed_state` of a service: a row for each service whose feed it follows."""
    return Table(
        "feed_state",
        metadata,
        Column("owner", Text, primary_key=True),
        Column("cursor", Text),
        Column("epoch", Uuid),
        Column("position", BigInteger),
        Column("complete_until", DateTime(timezone=True), nullable=False, server_default=text("'-infinity'")),
        Column("ready_incarnation", Text),
        Column("ready_columns", ARRAY(Text), nullable=False, server_default=text("'{}'")),
        Column("resynchronisation", Uuid),
        Column("resynchronising_epoch", Uuid),
    )


def forget_readiness(service: str) -> str:
    """The statement after data were restored into tables that stayed: nobody refers to anything before a new handshake (rule 7).

    `incarnation()` sees tables that were made anew, and not rows.
    """
    return f"UPDATE {service}.feed_state SET ready_incarnation = NULL"


class Batch(Protocol):
    """What comes over a feed at once."""

    @property
    def events(self) -> Sequence[Any]:
        """Events with a `type`, in order."""

    @property
    def cursor(self) -> str:
        """The place after them, for the owner."""

    @property
    def complete_until(self) -> datetime:
        """Everything committed before it has been sent."""

    @property
    def head(self) -> tuple[UUID, int]:
        """The end of the feed, read after the call began."""

    @property
    def position(self) -> tuple[UUID, int]:
        """The place of the cursor."""

    @property
    def registered(self) -> Sequence[str]:
        """The columns ("bookings.station_id") that were registered with the owner before the call: no other becomes ready by it."""


class Inbox:
    """Applies one owner's feed, exactly once."""

    def __init__(
        self, platform: Database, service: str, owner: str, handlers: Mapping[str, Handler], encode: Callable[[Any], bytes],
        known: Sequence[KnownRows] = (), unsaid: Mapping[str, Unsaid] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """`handlers` by event type; `encode` makes of an event what can be set aside; `unsaid` is for resynchronisations.

        What is CLOSING of the `known` rows has a turn before the first batch and after each, outside of its transaction.
        """
        self._platform = platform
        self._service = service
        self._owner = owner
        self._handlers = handlers
        self._encode = encode
        self._known = known
        self._resync = Resync(platform, service, owner, known, handlers, encode, unsaid)
        self._cursor: str | None = None
        self._epoch: UUID | None = None
        self._incarnation = ""

    async def cursor(self) -> str | None:
        """Where the last batch ended; None at the very beginning."""
        insert = f"INSERT INTO {self._service}.feed_state (owner) VALUES (:owner) ON CONFLICT DO NOTHING"
        select = f"SELECT cursor, epoch FROM {self._service}.feed_state WHERE owner = :owner"
        async with self._platform.transaction() as tx:
            await tx.execute(insert, {"owner": self._owner})
            row = (await tx.execute(select, {"owner": self._owner})).one()
        self._cursor, self._epoch = row.cursor, row.epoch
        return self._cursor

    async def begin(self) -> None:
        """Notes the life of the database in which the coming stream begins, and goes on with the closing that an earlier one left."""
        self._incarnation = (await self._platform.look(f"SELECT {self._service}.incarnation()")).value()
        for known in self._known:
            await known.closing.take_turn()

    async def apply(self, batch: Batch) -> None:
        """Applies a batch and moves the cursor, or does neither; sets aside what fails. Raises Superseded, EpochLeft, TooManyFail.

        As one piece at first: only where that fails because of an event each is applied by itself, in one transaction again.
        """
        try:
            await self._apply(batch, each=False)
        except Exception as error:
            if isinstance(error, Superseded) or failure_of(error) is None:
                raise
            failures = await self._apply(batch, each=True)
            for event, failure in failures:
                log.warning(
                    "an event failed, and is set aside", owner=self._owner, type=event.type, entity_id=event.entity_id,
                    event_id=event.event_id, error=failure.name, why=failure.sentence,
                )  # fmt: skip
        self._cursor, self._epoch = batch.cursor, batch.position[0]
        for known in self._known:
            await known.closing.take_turn()

    async def resynchronise(self, pages: AsyncIterator[Page]) -> Mapping[str, int]:
        """Takes over all that the owner has, as `Resync.run` does, from the cursor that was asked for last."""
        return await self._resync.run(self._cursor, pages)

    async def _apply(self, batch: Batch, *, each: bool) -> list[tuple[Any, Failure]]:
        """In one transaction; what failed, where `each` is an attempt of its own. Else what fails is raised."""
        failures = []
        async with self._platform.transaction() as tx:
            lanes: set[Lane] = set()
            if await self._move(tx, batch) and batch.events:
                lanes = await parked.lanes(tx, self._service, self._owner, batch.events)
            for event in batch.events:
                if (handler := self._handlers.get(event.type)) is None:
                    continue
                lane, failure = Lane(self._owner, event.type, UUID(event.entity_id)), None
                if lane not in lanes:
                    if not each:
                        await handler(tx, event)
                    elif failure := await attempt(tx, handler, event):
                        failures.append((event, failure))
                if lane in lanes or failure:
                    await parked.put(tx, self._service, lane, event, self._encode(event), failure)
                    lanes.add(lane)
        return failures

    async def _move(self, tx: Transaction, batch: Batch) -> bool:
        """Moves the cursor, which keeps everybody else out; whether anything of the owner lies aside. Superseded, EpochLeft."""
        caught_up = batch.position[0] == batch.head[0] and batch.position[1] >= batch.head[1]
        ready = f":caught_up AND {self._service}.incarnation() = :incarnation"
        move = (
            f"UPDATE {self._service}.feed_state SET cursor = :cursor, epoch = :epoch, position = :position,"
            " complete_until = CASE WHEN :caught_up THEN :complete_until ELSE greatest(complete_until, :complete_until) END,"
            f" ready_incarnation = CASE WHEN {ready} THEN :incarnation ELSE ready_incarnation END,"
            f" ready_columns = CASE WHEN NOT ({ready}) THEN ready_columns WHEN ready_incarnation = :incarnation"
            "   THEN ARRAY(SELECT unnest(ready_columns) UNION SELECT unnest(CAST(:columns AS text[])) ORDER BY 1) ELSE :columns END"
            f" WHERE owner = :owner AND cursor IS NOT DISTINCT FROM :old RETURNING {self._service}.incarnation(),"
            f" EXISTS (SELECT FROM {self._service}.parked_events p WHERE p.owner = :owner),"
            f" {left.is_left(self._service, ':epoch', ':head')}"
        )
        values = {
            "cursor": batch.cursor, "epoch": batch.position[0], "position": batch.position[1],
            "complete_until": batch.complete_until, "caught_up": caught_up, "columns": list(batch.registered),
            "incarnation": self._incarnation, "owner": self._owner, "old": self._cursor, "head": batch.head[0],
        }  # fmt: skip
        incarnation, aside, was_left = (await tx.execute(move, values)).first() or (None, False, False)
        if incarnation != self._incarnation:
            raise Superseded(f"the cursor of {self._owner}'s feed was moved elsewhere, or the database restarted")
        if was_left:
            raise EpochLeft(f"the feed of {self._owner} goes on in an epoch that was left", feed=self._owner)
        if self._epoch is not None and self._epoch != batch.position[0]:
            await left.leave(tx, self._service, self._owner, self._epoch)
        return bool(aside)


class Freshness:
    """How far each followed feed is known to be complete, as the database has it: alike in every process."""

    def __init__(self, platform: Database, service: str, now: Callable[[], datetime]) -> None:
        """Knows nothing, and so refuses, until `watch` has looked once."""
        self._platform = platform
        self._service = service
        self._now = now
        self._feeds: dict[str, Completeness] = {}

    async def watch(self) -> None:
        """Looks twice a second, endlessly."""
        while True:
            await self.look()
            await asyncio.sleep(WATCH_SECONDS)

    async def look(self) -> None:
        """Reads what the consumer, here or in another process, has recorded."""
        statement = f"SELECT owner, complete_until FROM {self._service}.feed_state WHERE isfinite(complete_until)"
        rows = await self._platform.look(statement)
        for row in rows:
            self._feeds.setdefault(row.owner, Completeness(self._now)).hear(row.complete_until)

    def complete_until(self, owner: str) -> datetime | None:
        """Everything that the owner committed before has been applied; None where nothing was heard yet."""
        return self._feeds[owner].until if owner in self._feeds else None

    def require(self, owner: str) -> None:
        """Raises FeedStale where the owner's feed is not known to be complete up to 30 s ago."""
        if owner not in self._feeds or self._feeds[owner].stale(STALE_SECONDS):
            raise FeedStale(f"{self._service} has not heard from {owner} for more than {STALE_SECONDS} s", feed=owner)
