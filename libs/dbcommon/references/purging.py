"""Purges at the owner: the transactions between which those who refer are asked (rule 5, as the model mended it).

    LEFT ----- begin: raises the version, announces that it is closed, in the present epoch
      |        every referrer answers that no RESTRICT row is left, at exactly that epoch and version
    PURGING -- entomb: compares all that the answers rest on, raises the version, announces the tombstone
      |        every referrer answers that no row is left at all, at exactly that epoch and version
    PURGED --- finish

Answers are kept nowhere: whoever goes on, after a crash or beside another, asks anew. The row in `purges` says at which epoch
and version the thing was announced; any other change of the thing raises its version past it, and so voids the purge.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol
from uuid import UUID

from dbcommon.database import Database, Transaction, durably
from dbcommon.references.epochs import present_epoch
from dbcommon.references.registering import Expected, Registry

UNFINISHED_MAX = 100


class Stage(Enum):
    """How far a thing is on its way out."""

    KEPT = "in use, or to be: nothing of a purge"
    LEFT = "deleted: it may be purged, or taken back"
    PURGING = "it cannot be taken back"
    PURGED = "gone"


class Purgeable(Protocol):
    """The things of one type, as their owner keeps them."""

    @property
    def type(self) -> str:
        """As events and references name it."""

    async def lock(self, tx: Transaction, id: UUID) -> tuple[Stage, int]:
        """Locks a thing until the transaction ends; its stage and version."""

    async def advance(self, tx: Transaction, id: UUID, stage: Stage) -> int:
        """Raises the version of a locked thing, takes it to LEFT or PURGING, announces it; the new version."""

    async def erase(self, tx: Transaction, id: UUID) -> None:
        """Makes a locked thing PURGED, and removes what belongs to it. Its version stays: there is nothing new to hear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What referrers are asked about. An answer counts only as long as all of it holds."""

    id: UUID
    stage: Stage
    """LEFT or PURGING."""
    epoch: UUID
    version: int
    expected: Expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstones:
    """The purges that have passed the point of no return, and have not ended."""

    count: int
    seconds: float
    """How old the oldest of them is."""


class Purges:
    """The purges of one owner."""

    def __init__(self, platform: Database, service: str, registry: Registry) -> None:
        """`registry` knows who is asked."""
        self._platform = platform
        self._service = service
        self._registry = registry

    async def begin(self, tx: Transaction, things: Purgeable, id: UUID) -> None:
        """Begins the purge of a locked thing, in the caller's transaction. One that is PURGING goes on. Raises FeedStale."""
        stage, _ = await things.lock(tx, id)
        epoch = await present_epoch(tx, self._service)
        if stage is Stage.LEFT:
            await self._announce(tx, things, id, stage, epoch)

    async def take_up(self, things: Purgeable, id: UUID) -> Asked | None:
        """What is to be asked now; None where no purge of the thing is under way (any more). Raises FeedStale.

        In another epoch than the announcement's, versions say nothing: the thing is announced anew as it is.
        """
        async with self._platform.transaction() as tx:
            stage, version = await things.lock(tx, id)
            epoch = await present_epoch(tx, self._service)
            select = f"SELECT epoch, version FROM {self._service}.purges WHERE type = :type AND id = :id"
            row = (await tx.execute(select, {"type": things.type, "id": id})).first()
            if stage not in {Stage.LEFT, Stage.PURGING} or row is None or row.version != version:
                return None
            if row.epoch != epoch:
                version = await self._announce(tx, things, id, stage, epoch)
            expected = await self._registry.expected(tx, things.type)
            return Asked(id=id, stage=stage, epoch=epoch, version=version, expected=expected)

    async def entomb(self, things: Purgeable, asked: Asked) -> bool:
        """Makes the thing PURGING, once all have answered that nothing holds it back; False where they must be asked anew."""
        async with self._platform.transaction() as tx:
            await durably(tx)  # a failover that lost it could not bring back what CASCADE has removed meanwhile
            if not await self._holds(tx, things, asked) or await self._unpublished(tx, things, asked.id):
                return False
            await self._announce(tx, things, asked.id, Stage.PURGING, asked.epoch)
            return True

    async def finish(self, things: Purgeable, asked: Asked) -> bool:
        """Makes the thing PURGED, once all have answered that nothing is left; False where they must be asked anew."""
        async with self._platform.transaction() as tx:
            if not await self._holds(tx, things, asked):
                return False
            await things.erase(tx, asked.id)
            end = f"DELETE FROM {self._service}.purges WHERE type = :type AND id = :id"
            await tx.execute(end, {"type": things.type, "id": asked.id})
            return True

    async def unfinished(self) -> Sequence[tuple[str, UUID]]:
        """Some of the things that are PURGING: any of them, so that many that do not end hide no others."""
        statement = (
            f"SELECT type, id FROM {self._service}.purges WHERE purging_time IS NOT NULL ORDER BY random() LIMIT {UNFINISHED_MAX}"
        )
        return [(row.type, row.id) for row in await self._platform.look(statement)]

    async def tombstones(self) -> Tombstones:
        """How many things are PURGING, and for how long."""
        statement = (
            "SELECT count(*) AS count, coalesce(extract(epoch FROM now() - min(purging_time)), 0)::float8 AS seconds"
            f" FROM {self._service}.purges WHERE purging_time IS NOT NULL"
        )
        row = (await self._platform.look(statement)).one()
        return Tombstones(count=row[0], seconds=row.seconds)

    async def _holds(self, tx: Transaction, things: Purgeable, asked: Asked) -> bool:
        """Whether what was asked about is still so; locks the thing, and the registry until nobody new can have registered."""
        stage, version = await things.lock(tx, asked.id)
        lock = f"SELECT version FROM {self._service}.registry FOR NO KEY UPDATE"
        registry: int = (await tx.execute(lock)).value()
        epoch = await present_epoch(tx, self._service)
        return (stage, version, registry, epoch) == (asked.stage, asked.version, asked.expected.version, asked.epoch)

    async def _unpublished(self, tx: Transaction, things: Purgeable, id: UUID) -> bool:
        """Whether an event of a locked thing waits for the relay: who shakes hands would hear of a head before it."""
        statement = f"SELECT EXISTS (SELECT FROM {self._service}.outbox WHERE type = :type AND entity_id = :id)"
        return bool((await tx.execute(statement, {"type": things.type, "id": id})).value())

    async def _announce(self, tx: Transaction, things: Purgeable, id: UUID, stage: Stage, epoch: UUID) -> int:
        version = await things.advance(tx, id, stage)
        note = (
            f"INSERT INTO {self._service}.purges AS p (type, id, epoch, version, purging_time)"
            " VALUES (:type, :id, :epoch, :version, CASE WHEN :purging THEN now() END)"
            " ON CONFLICT (type, id) DO UPDATE SET epoch = excluded.epoch, version = excluded.version,"
            " purging_time = CASE WHEN :purging THEN coalesce(p.purging_time, excluded.purging_time) END"
        )
        values = {"type": things.type, "id": id, "epoch": epoch, "version": version, "purging": stage is Stage.PURGING}
        await tx.execute(note, values)
        return version
