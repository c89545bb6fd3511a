"""Known rows: what stands here for the entities of other services."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import BigInteger, Column, Index, MetaData, SmallInteger, Table, UniqueConstraint, Uuid, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from dbcommon import parked
from dbcommon.database import Database
from dbcommon.references.answers import Answer
from dbcommon.references.states import Known, Referent
from faults import FeedStale, LockTimeout

log = structlog.get_logger()

KNOWN_CACHED = 100_000
SEEN_SECONDS = 30.0
CLOSE_LOCK_SECONDS = 8


def known_table(metadata: MetaData, name: str, *facts: Any, key: str = "id") -> Table:
    """The known rows of one type: `fence` is the only column beside the ID whose change waits for open writes (rule 2).

    It counts the closings: PostgreSQL waits only where the value changes, and another epoch may close at the same version.
    """
    return Table(
        name,
        metadata,
        Column(key, Uuid, primary_key=True),
        Column("epoch", Uuid, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("state", SmallInteger, nullable=False),
        Column("fence", BigInteger, nullable=False, server_default=text("0")),
        *facts,
        UniqueConstraint(key, "fence"),
        Index(f"{name}_closing_idx", key, postgresql_where=text(f"state = {Known.CLOSING:d}")),
    )


class KnownRows:
    """The known rows of one type."""

    def __init__(
        self, platform: Database, known: Table, *, owner: str, type: str, facts: Callable[[Any], Mapping[str, Any]],
        closed: Callable[[AsyncConnection, UUID], Awaitable[None]] | None = None,
    ) -> None:  # fmt: skip
        """`facts` gives the columns that are kept of an entity, from what its owner says of it.

        `closed` is told of a row in the transaction that closes it: no write that refers to the entity is open any more.
        """
        self._platform = platform
        self._known = known
        self._key = next(iter(known.primary_key))
        self._facts = facts
        self._closed = closed
        self._seen: OrderedDict[UUID, float] = OrderedDict()
        self.owner = owner
        self.type = type

    async def missing(self, ids: Sequence[UUID]) -> list[UUID]:
        """Which of the IDs have no row. Rows are never deleted (rule 3): what was there is not looked up again for a while.

        Not for ever: a restored database may have lost them.
        """
        now = asyncio.get_running_loop().time()
        unseen = [id for id in ids if now - self._seen.get(id, -SEEN_SECONDS) >= SEEN_SECONDS]
        if not unseen:
            return []
        async with self._platform.transaction(read_only=True) as tx:
            found: set[UUID] = set((await tx.execute(select(self._key).where(self._key.in_(unseen)))).scalars())
        self._remember(found)
        return [id for id in unseen if id not in found]

    async def store(self, answers: Mapping[UUID, Answer]) -> None:
        """Inserts what was missing, where the answer's epoch is the one that the feed is in (rule 1). Raises FeedStale."""
        schema = self._known.schema
        async with self._platform.transaction() as tx:
            present = text(
                f"SELECT epoch FROM {schema}.feed_state WHERE owner = :owner FOR NO KEY UPDATE"
            )  # not FOR SHARE: sharers that overlap would keep the consumer out for ever
            epoch = (await tx.execute(present, {"owner": self.owner})).scalar_one_or_none()
            await parked.refuse(tx, str(schema), self.owner, answers.keys())
            for id, answer in sorted(answers.items()):
                if answer.epoch != epoch:
                    raise FeedStale(f"not caught up with the present epoch of {self.owner}", feed=self.owner)
                await tx.execute(
                    insert(self._known)
                    .values(**self._row(id, answer.epoch, answer.version, _state(answer.state, Known.CLOSED), answer.facts))
                    .on_conflict_do_nothing()
                )
        self._remember(set(answers))

    async def apply(self, tx: AsyncConnection, event: Any) -> None:
        """Applies an event of the owner's feed: the first step of closing, or a reopening (rule 2)."""
        id, epoch = UUID(event.entity_id), UUID(event.epoch)
        row = self._row(id, epoch, event.version, _state(event.referent_state, Known.CLOSING), event.payload)
        newer = (self._known.c.epoch != epoch) | (self._known.c.version < event.version)
        if row["state"] == Known.OPEN:
            await tx.execute(update(self._known).where(self._key == id, newer).values(row))
        else:  # without the key: in SET it would make ON CONFLICT wait for every open write that refers, even unchanged
            news = {name: value for name, value in row.items() if name != self._key.name}
            insertion = insert(self._known).values(row)
            await tx.execute(insertion.on_conflict_do_update(index_elements=[self._key], set_=news, where=newer))

    async def close(self) -> None:
        """The second step of closing, for every row that is in the first: waits for open writes, and locks nothing else."""
        table = self._known
        async with self._platform.transaction(read_only=True) as tx:
            closing = (await tx.execute(select(self._key, table.c.version).where(table.c.state == Known.CLOSING))).all()
        id: Any
        for id, version in closing:
            close = update(table).where(self._key == id, table.c.state == Known.CLOSING, table.c.version == version)
            try:
                async with self._platform.transaction(lock_seconds=CLOSE_LOCK_SECONDS) as tx:
                    done = await tx.execute(close.values(state=Known.CLOSED.value, fence=table.c.fence + 1))
                    if done.rowcount and self._closed is not None:
                        await self._closed(tx, id)
            except LockTimeout:  # a write is open for long: the row refuses new ones, and the feed must not wait for it
                log.warning("a known row cannot be closed yet", type=self.type, id=str(id))

    def _row(self, id: UUID, epoch: UUID, version: int, state: Known, facts: Any) -> dict[str, Any]:
        return {self._key.name: id, "epoch": epoch, "version": version, "state": state.value, **self._facts(facts)}

    def _remember(self, ids: set[UUID]) -> None:
        now = asyncio.get_running_loop().time()
        for id in ids:
            self._seen[id] = now
            self._seen.move_to_end(id)
        while len(self._seen) > KNOWN_CACHED:
            self._seen.popitem(last=False)


def _state(referent: int, closed: Known) -> Known:
    return {Referent.OPEN: Known.OPEN, Referent.PURGED: Known.PURGED}.get(Referent(referent), closed)
