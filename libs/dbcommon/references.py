"""IDs that point into another service, guarded by this service's own database.

A known row stands for an entity of another service. Columns that refer to it have an ordinary foreign key, and a trigger
that takes the known row FOR KEY SHARE and refuses unless it is OPEN. The rules by number are those of docs/references.md.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol
from uuid import UUID

import structlog
from sqlalchemy import BigInteger, Column, Index, MetaData, SmallInteger, Table, UniqueConstraint, Uuid, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from dbcommon import parked
from dbcommon.database import Database
from faults import Fault, FeedStale, LockTimeout, ReferenceClosed, ReferenceNotFound

log = structlog.get_logger()

KNOWN_CACHED = 100_000
SEEN_SECONDS = 30.0
CLOSE_LOCK_SECONDS = 8


class Known(IntEnum):
    """The states of a known row."""

    OPEN = 1
    CLOSING = 2
    CLOSED = 3
    PURGED = 4


class Referent(IntEnum):
    """What an owner says of an entity: the values of `teppan.common.v1.ReferentState`."""

    NOT_FOUND = 1
    OPEN = 2
    CLOSED = 3
    PURGED = 4


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


def guard(service: str, table: str, column: str, *, known: Table, owner: str, tenant: str | None = None) -> list[str]:
    """The trigger that lets a row refer only to an OPEN entity, in a database that has caught up with its owner (rules 1, 7).

    `tenant` is the column, of both tables, that must agree besides. Refuses under the names of `refusals`.
    """
    name, key = f"{table}_{column}", next(iter(known.primary_key)).name
    same = f" AND k.{tenant} = NEW.{tenant}" if tenant else ""
    function = f"""CREATE FUNCTION {service}.{name}_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found_state smallint;
BEGIN
  IF NEW.{column} IS NULL THEN
    RETURN NEW;
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a row that refers is written at READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  IF NOT EXISTS (SELECT FROM {service}.feed_state s WHERE s.owner = '{owner}' AND s.ready_incarnation = {service}.incarnation())
     OR {parked.lies_aside(service, owner, f"NEW.{column}")} THEN
    RAISE EXCEPTION 'not caught up with {owner}' USING ERRCODE = 'check_violation', CONSTRAINT = '{name}_ready';
  END IF;
  SELECT k.state INTO found_state FROM {service}.{known.name} k WHERE k.{key} = NEW.{column}{same} FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = '{name}_known';
  END IF;
  IF found_state <> {Known.OPEN:d} THEN
    RAISE EXCEPTION 'not open' USING ERRCODE = 'check_violation', CONSTRAINT = '{name}_open';
  END IF;
  RETURN NEW;
END $$"""
    return [
        function,
        f"REVOKE ALL ON FUNCTION {service}.{name}_guard() FROM PUBLIC",
        f"CREATE TRIGGER {name}_guard BEFORE INSERT OR UPDATE OF {column} ON {service}.{table} FOR EACH ROW EXECUTE FUNCTION {service}.{name}_guard()",
    ]


def refusals(table: str, column: str, *, type: str, owner: str) -> dict[str, Fault]:
    """What the guard of a column refuses, as faults."""
    name = f"{table}_{column}"
    return {
        f"{name}_open": ReferenceClosed(f"the {type} that {column} names is not in use", field=column, type=type),
        f"{name}_known": FeedStale(f"the {type} that {column} names has to be checked again", feed=owner),
        f"{name}_ready": FeedStale(f"not caught up with what {owner} says of the {type} that {column} names", feed=owner),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A reference that a write is about to make."""

    field: str
    type: str
    id: UUID
    tenant: UUID | None = None


class Answer(Protocol):
    """What an owner answered for one item."""

    @property
    def epoch(self) -> UUID:
        """Of the owner's feed."""

    @property
    def state(self) -> int:
        """A Referent."""

    @property
    def version(self) -> int:
        """Of the entity, within the epoch."""

    @property
    def facts(self) -> Any:
        """The entity as its events carry it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an owner has of one thing that it is asked about."""

    state: int
    """A Referent."""
    version: int
    """Of the thing, within the epoch of the feed."""
    facts: bytes | None
    """A serialised `google.protobuf.Any`."""


ABSENT = Found(state=Referent.NOT_FOUND, version=0, facts=None)
"""There is no such thing, or not in that tenant."""


class Owner(Protocol):
    """Somebody who can be asked."""

    async def check(self, type: str, items: Sequence[tuple[UUID | None, UUID]]) -> Sequence[Answer]:
        """Answers each item in order."""


class KnownRows:
    """The known rows of one type."""

    def __init__(
        self, platform: Database, known: Table, *, owner: str, type: str, facts: Callable[[Any], Mapping[str, Any]]
    ) -> None:
        """`facts` gives the columns that are kept of an entity, from what its owner says of it."""
        self._platform = platform
        self._known = known
        self._key = next(iter(known.primary_key))
        self._facts = facts
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
        for id, version in closing:
            close = update(table).where(self._key == id, table.c.state == Known.CLOSING, table.c.version == version)
            try:
                async with self._platform.transaction(lock_seconds=CLOSE_LOCK_SECONDS) as tx:
                    await tx.execute(close.values(state=Known.CLOSED.value, fence=table.c.fence + 1))
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


class References:
    """Makes sure, before a transaction opens, that what a write refers to is known; only a miss asks its owner."""

    def __init__(self, known: Mapping[str, KnownRows], owners: Mapping[str, Owner]) -> None:
        """`known` by type, `owners` by service name."""
        self._known = known
        self._owners = owners

    async def ensure_known(self, wanted: Sequence[Wanted]) -> None:
        """Raises ReferenceNotFound, PeerUnavailable, FeedStale. Whether a known entity is open, the guard decides."""
        for type in sorted({reference.type for reference in wanted}):
            known = self._known[type]
            asked = [reference for reference in wanted if reference.type == type]
            missing = set(await known.missing([reference.id for reference in asked]))
            if missing:
                await self._ask(known, [reference for reference in asked if reference.id in missing])

    async def ensure_open(self, wanted: Wanted) -> None:
        """Asks the owner, whatever is known here, and stores the answer where nothing is (rule 8: what money refers to).

        Raises ReferenceNotFound, ReferenceClosed, PeerUnavailable, FeedStale. The guard decides again.
        """
        known = self._known[wanted.type]
        answers = await self._answers(known, [wanted])
        if answers[wanted.id].state != Referent.OPEN:
            message = f"{wanted.field}: the {wanted.type} is not in use"
            raise ReferenceClosed(message, field=wanted.field, type=wanted.type)
        if await known.missing([wanted.id]):
            await known.store(answers)

    async def _ask(self, known: KnownRows, references: Sequence[Wanted]) -> None:
        await known.store(await self._answers(known, references))

    async def _answers(self, known: KnownRows, references: Sequence[Wanted]) -> dict[UUID, Answer]:
        items = [(reference.tenant, reference.id) for reference in references]
        answers = await self._owners[known.owner].check(known.type, items)
        for reference, answer in zip(references, answers, strict=True):
            if answer.state == Referent.NOT_FOUND:
                message = f"{reference.field}: there is no such {known.type}"
                raise ReferenceNotFound(message, field=reference.field, type=known.type)
        return {reference.id: answer for reference, answer in zip(references, answers, strict=True)}
