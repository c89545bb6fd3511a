"""Whether things are gone: two observations of their owner in one epoch of its feed, which was applied here in between.

One NOT_FOUND is nothing: a standby that lags says so, and an owner that was just restored. Nor is an error.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from dbcommon import parked
from dbcommon.audit.columns import Audited, Thing
from dbcommon.database import Database
from dbcommon.references.answers import Answer
from dbcommon.references.states import Known, Referent
from faults import Fault

ATTEMPTS = 2
FEED_SECONDS = 10.0
POLL_SECONDS = 0.05
GONE = frozenset({Referent.NOT_FOUND, Referent.PURGED})

KnownAs = tuple[UUID, int, int] | None
"""Epoch, version and state of a known row; None where there is none."""


class Owner(Protocol):
    """Somebody who is asked, and whose answers are not remembered: an old one would count as a second observation."""

    async def check(self, type: str, items: Sequence[tuple[UUID | None, UUID]]) -> Sequence[Answer]:
        """Answers each item in order, all in one epoch, from its primary. Raises faults."""

    async def head(self) -> tuple[UUID, int]:
        """Epoch and position of the end of its feed, read after the call began. Raises faults."""


class OwnerSilent(Exception):
    """The owner cannot be asked; the message says why."""


class NotGone(Exception):
    """A thing that was seen to be gone is not known to be so any more; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A thing that is gone."""

    epoch: UUID
    known: KnownAs
    """What was known here, between the observations."""
    at: float
    """Before the second observation, by the clock of the event loop."""


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What became of things: who is in neither is there."""

    gone: dict[Thing, Seen]
    doubtful: dict[Thing, str]
    """With the reason."""


class Observer:
    """Observes the owners of what a service refers to."""

    def __init__(
        self, platform: Database, service: str, owners: Mapping[str, Owner], *, feed_seconds: float = FEED_SECONDS
    ) -> None:
        """`owners` by name; it is waited `feed_seconds` for the feed of one to be applied."""
        self._platform = platform
        self._service = service
        self._owners = owners
        self._feed_seconds = feed_seconds

    async def confirm(self, column: Audited, things: Collection[Thing]) -> Verdict:
        """Observes twice; what is in doubt then, once more from the start. Raises OwnerSilent."""
        verdict, silent = _doubt(things, ""), ""
        for _ in range(ATTEMPTS):
            if not verdict.doubtful:
                break
            try:
                again, silent = await self._twice(column, list(verdict.doubtful)), ""
            except Fault as fault:
                silent = f"{column.column.owner} does not answer: {fault.reason}"
                again = _doubt(verdict.doubtful, silent)
            verdict = Verdict(gone=verdict.gone | again.gone, doubtful=again.doubtful)
        if silent and len(verdict.doubtful) == len(things):
            raise OwnerSilent(silent)
        return verdict

    async def _twice(self, column: Audited, things: Sequence[Thing]) -> Verdict:
        asked = column.column.owner
        owner = self._owners[asked]
        epoch, suspects = await self._observe(owner, column, things)
        if not suspects:
            return Verdict(gone={}, doubtful={})
        head = await owner.head()
        if head[0] != epoch or not await self._applied(asked, head):
            return _doubt(suspects, f"the feed of {asked} has begun another epoch, or is not applied up to its head")
        known, aside = await self._known(column, suspects)
        at = asyncio.get_running_loop().time()
        again, gone = await self._observe(owner, column, suspects)
        if again != epoch:
            return _doubt(suspects, f"the feed of {asked} has begun another epoch")
        verdict = _doubt([thing for thing in suspects if thing.id in aside], f"an event of {asked} about it lies aside")
        for thing in gone:
            if thing not in verdict.doubtful:
                verdict.gone[thing] = Seen(epoch=epoch, known=known.get(thing.id), at=at)
        verdict.doubtful |= {
            thing: f"{asked} said that it is not there, and then that it is" for thing in suspects if thing not in gone
        }
        return verdict

    async def _observe(self, owner: Owner, column: Audited, things: Sequence[Thing]) -> tuple[UUID, Sequence[Thing]]:
        """The epoch, and which of the things are not there."""
        answers = await owner.check(column.column.type, [(thing.tenant, thing.id) for thing in things])
        gone = [thing for thing, answer in zip(things, answers, strict=True) if answer.state in GONE]
        return answers[0].epoch, gone

    async def _applied(self, owner: str, head: tuple[UUID, int]) -> bool:
        """Waits until the feed is applied up to a head, in its epoch; False where that takes too long."""
        reached = f"SELECT EXISTS (SELECT FROM {self._service}.feed_state WHERE owner = :owner AND epoch = :epoch AND position >= :position)"
        values = {"owner": owner, "epoch": head[0], "position": head[1]}
        loop = asyncio.get_running_loop()
        until = loop.time() + self._feed_seconds
        while True:
            if (await self._platform.look(reached, values)).value():
                return True
            if loop.time() >= until:
                return False
            await asyncio.sleep(POLL_SECONDS)

    async def _known(self, column: Audited, things: Sequence[Thing]) -> tuple[Mapping[UUID, KnownAs], Collection[UUID]]:
        """What is known here of the things, and of which an event lies aside."""
        ids = [thing.id for thing in things]
        async with self._platform.transaction(read_only=True) as tx:
            rows = await tx.execute(known_as(column), {"ids": ids})
            aside = await parked.among(tx, self._service, column.known.owner, ids)
        return {row.id: (row.epoch, row.version, row.state) for row in rows}, aside


def known_as(column: Audited) -> str:
    """The statement for what is known of `:ids`: of each `id`, `epoch`, `version`, `state`."""
    key, table = column.known_key, column.known.table
    return f"SELECT {key} AS id, epoch, version, state FROM {table.schema}.{table.name} WHERE {key} = ANY(:ids)"


def on_its_way(column: Audited) -> str:
    """The condition that a thing `i.id` is known to be gone, and what its purge does to the column's rows is not done yet."""
    key, table = column.known_key, column.known.table
    due = f"k.gone AND k.state <> {Known.PURGED:d}"
    return f"EXISTS (SELECT FROM {table.schema}.{table.name} k WHERE k.{key} = i.id AND {due})"


def _doubt(things: Iterable[Thing], why: str) -> Verdict:
    return Verdict(gone={}, doubtful=dict.fromkeys(things, why))
