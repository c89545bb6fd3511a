"""Known rows: what stands here for the entities of other services."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Column, Index, MetaData, SmallInteger, Table, UniqueConstraint, Uuid, text

from dbcommon import parked
from dbcommon.database import Database, Transaction
from dbcommon.references.answers import Answer
from dbcommon.references.closing import Closed, Closing
from dbcommon.references.states import Known, Referent
from dbcommon.references.together import Together
from dbcommon.statements import inserting, inserting_all, lists, updating
from faults import Fault, FeedStale, ReferenceClosed

KNOWN_CACHED = 100_000
SEEN_SECONDS = 30.0


def known_table(metadata: MetaData, name: str, *facts: Any, key: str = "id") -> Table:
    """The known rows of one type: `fence` is the only column beside the ID whose change waits for open writes (rule 2).

    It counts the closings: PostgreSQL waits only where the value changes, and another epoch may close at the same version.
    `gone` says that the thing is beyond coming back: what refers to it by CASCADE or NULLIFY is due until the state is PURGED.
    """
    return Table(
        name,
        metadata,
        Column(key, Uuid, primary_key=True),
        Column("epoch", Uuid, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("state", SmallInteger, nullable=False),
        Column("fence", BigInteger, nullable=False, server_default=text("0")),
        Column("gone", Boolean, nullable=False, server_default=text("false")),
        *facts,
        UniqueConstraint(key, "fence"),
        Index(f"{name}_closing_idx", key, postgresql_where=text(f"state = {Known.CLOSING:d}")),
        Index(f"{name}_gone_idx", key, postgresql_where=text(f"gone AND state = {Known.CLOSED:d}")),
    )


class KnownRows:
    """The known rows of one type."""

    def __init__(
        self, platform: Database, known: Table, *, owner: str, type: str, facts: Callable[[Any], Mapping[str, Any]],
        closed: Closed | None = None,
    ) -> None:  # fmt: skip
        """`facts` gives the columns that are kept of an entity, from what its owner says of it."""
        self._platform = platform
        self.table = known
        self.key = next(iter(known.primary_key)).name
        self._among = f"SELECT {self.key} FROM {known.fullname} WHERE {self.key} = ANY(:ids)"
        self._facts = facts
        self.closing = Closing(platform, known, type=type, closed=closed)
        self._seen: OrderedDict[UUID, float] = OrderedDict()
        self._looks: Together[None, bool] = Together(self._look)
        self._stores: Together[Answer, Fault | None] = Together(self._store)
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
        there = await self._looks.ask(dict.fromkeys(unseen))
        return [id for id in unseen if not there[id]]

    async def _look(self, ids: Mapping[UUID, None]) -> Mapping[UUID, bool]:
        """Which of the IDs have a row."""
        found = set((await self._platform.look(self._among, {"ids": list(ids)})).column())
        self._remember(found)
        return {id: id in found for id in ids}

    async def store(self, answers: Mapping[UUID, Answer]) -> None:
        """Inserts what was missing, where the answer's epoch is the one that the feed is in (rule 1). FeedStale, ReferenceClosed.

        Only what is OPEN: anything else would stand for an event that may never come.
        """
        if any(answer.state != Referent.OPEN for answer in answers.values()):
            raise ReferenceClosed(f"the {self.type} is not in use", type=self.type)
        refused = await self._stores.ask(answers)
        for id in answers:
            if fault := refused[id]:
                raise fault

    async def _store(self, answers: Mapping[UUID, Answer]) -> Mapping[UUID, Fault | None]:
        """Stores the answers to several calls; what refuses one of them refuses no other."""
        schema, refused = str(self.table.schema), dict[UUID, Fault | None].fromkeys(answers)
        async with self._platform.transaction() as tx:
            # Not FOR SHARE: sharers that overlap would keep the consumer out for ever.
            present = f"SELECT epoch FROM {schema}.feed_state WHERE owner = :owner FOR NO KEY UPDATE"
            epoch = (await tx.execute(present, {"owner": self.owner})).value_or_none()
            for id in await parked.among(tx, schema, self.owner, answers.keys()):
                refused[id] = FeedStale(f"not caught up with {self.owner}: an event could not be applied yet", feed=self.owner)
            for id, answer in answers.items():
                if answer.epoch != epoch:
                    refused[id] = FeedStale(f"not caught up with the present epoch of {self.owner}", feed=self.owner)
            rows = [
                self._row(id, each.epoch, each.version, each.state, each.facts)
                for id, each in sorted(answers.items())
                if not refused[id]
            ]
            if rows:
                await tx.execute(f"{inserting_all(self.table, rows[0])} ON CONFLICT DO NOTHING", lists(rows))
        self._remember({row[self.key] for row in rows})
        return refused

    async def apply(self, tx: Transaction, event: Any) -> None:
        """Applies an event of the owner's feed: the first step of closing, or a reopening (rule 2)."""
        id, epoch = UUID(event.entity_id), UUID(event.epoch)
        row = self._row(id, epoch, event.version, event.referent_state, event.payload)
        newer = f"({self.table.name}.epoch <> :epoch OR {self.table.name}.version < :version)"
        if row["state"] == Known.OPEN:
            await tx.execute(f"{updating(self.table, self._news(row))} WHERE {self.key} = :{self.key} AND {newer}", row)
        else:
            await tx.execute(f"{inserting(self.table, row)} {self._taken_over(row)} WHERE {newer}", row)

    def _news(self, row: Iterable[str]) -> list[str]:
        """Columns without the key: in SET it would make ON CONFLICT wait for every open write that refers, even unchanged."""
        return [name for name in row if name != self.key]

    def _taken_over(self, row: Iterable[str]) -> str:
        news = ", ".join(f"{name} = excluded.{name}" for name in self._news(row))
        return f"ON CONFLICT ({self.key}) DO UPDATE SET {news}"

    async def replace(self, tx: Transaction, events: Sequence[Any]) -> None:
        """Takes over what the owner has now, whatever is here: what is OPEN only where a row is there, all else everywhere (rule 3).

        What is not OPEN has its second step before it, as by an event: a write may be open. In one statement, by ID.
        """
        rows = [self._row(UUID(e.entity_id), UUID(e.epoch), e.version, e.referent_state, e.payload) for e in events]
        there = set((await tx.execute(self._among, {"ids": [row[self.key] for row in rows]})).column())
        wanted = [row for row in rows if row["state"] != Known.OPEN or row[self.key] in there]
        for names in {tuple(row) for row in wanted}:  # what is gone may have no facts
            alike = [row for row in wanted if tuple(row) == names]
            await tx.execute(f"{inserting_all(self.table, names)} {self._taken_over(names)}", lists(alike))

    async def close_unknown(self, tx: Transaction, epoch: UUID) -> None:
        """After all that the owner has was replaced in this epoch: what was not, it does not know, and nobody refers to it any more.

        The row keeps its own epoch, so it acknowledges nothing; should the owner know the thing again, any event of it applies.
        What lies aside is known to the owner, and not closed.
        """
        applied = "NOT " + parked.lies_aside(str(self.table.schema), self.owner, f"{self.table.name}.{self.key}")
        close = f"UPDATE {self.table.fullname} SET state = {Known.CLOSING:d} WHERE epoch <> :epoch AND state = {Known.OPEN:d}"
        await tx.execute(f"{close} AND {applied}", {"epoch": epoch})

    async def count(self, tx: Transaction, ids: Sequence[UUID] | None = None) -> int:
        """How many rows there are; of these IDs, where some are given."""
        counted = f"SELECT count(*) FROM {self.table.fullname}"
        if ids is None:
            return int((await tx.execute(counted)).value())
        return int((await tx.execute(f"{counted} WHERE {self.key} = ANY(:ids)", {"ids": list(ids)})).value())

    def _row(self, id: UUID, epoch: UUID, version: int, referent: int, facts: Any) -> dict[str, Any]:
        """The row after it was heard of: what is not OPEN has its second step before it (rule 2)."""
        state = Known.OPEN if referent == Referent.OPEN else Known.CLOSING
        gone = referent == Referent.PURGED
        kept = {} if gone and not facts.type_url else self._facts(facts)  # what is gone may have none any more
        return {self.key: id, "epoch": epoch, "version": version, "state": state.value, "gone": gone, **kept}

    def _remember(self, ids: set[UUID]) -> None:
        now = asyncio.get_running_loop().time()
        for id in ids:
            self._seen[id] = now
            self._seen.move_to_end(id)
        while len(self._seen) > KNOWN_CACHED:
            self._seen.popitem(last=False)
