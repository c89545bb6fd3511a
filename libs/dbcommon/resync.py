"""The present state of everything that an owner has replaces what is known of it: where its feed goes on from no cursor of ours.

Many short transactions, which together are like the one of the model: the first leaves the cursor (nothing follows the feed, no
answer of the owner is stored), the last sets it to the head that was taken before everything else. In between only rows that are
open to writes can be told from before, and none of what was replaced acknowledges anything (see `references.counting`).
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

import structlog

from dbcommon import left, parked
from dbcommon.attempts import Handler, attempt, failure_of
from dbcommon.database import Database, Transaction
from dbcommon.parked import Lane
from dbcommon.references.known import KnownRows
from faults import EpochLeft

TOLD_EACH = 10_000
"""Things between two lines of the log."""

log = structlog.get_logger()


Unsaid = Callable[[Transaction, UUID], Awaitable[int]]
"""Told of the epoch in the last transaction: what of earlier ones was not said again in it; how many things that are."""


class Page(Protocol):
    """Some of all things of one type."""

    @property
    def head(self) -> tuple[UUID, int]:
        """The end of the feed, taken before the first of them was read."""

    @property
    def cursor(self) -> str:
        """The place of that end, for the owner."""

    @property
    def type(self) -> str:
        """What they are."""

    @property
    def events(self) -> Sequence[Any]:
        """Each as an event of it would say it; at most 500."""


class Superseded(Exception):
    """Somebody else moved the cursor, or resynchronises, or the database restarted meanwhile: it must be begun anew."""


class Resync:
    """Resynchronises with one owner."""

    def __init__(
        self, platform: Database, service: str, owner: str, known: Sequence[KnownRows], handlers: Mapping[str, Handler],
        encode: Callable[[Any], bytes], unsaid: Mapping[str, Unsaid],
    ) -> None:  # fmt: skip
        """Known rows are replaced; where there are none, `handlers` are told of what is, as if it had just happened.

        And then `unsaid`, by type: what was not among it, nobody takes back.
        """
        self._platform = platform
        self._service = service
        self._owner = owner
        self._known = {each.type: each for each in known}
        self._handlers = handlers
        self._encode = encode
        self._unsaid = unsaid

    async def run(self, old: str | None, pages: AsyncIterator[Page]) -> Mapping[str, int]:
        """Replaces everything; gives by type how many known things the owner has not spoken of. Known rows stay, and are OPEN no more.

        `old` is the cursor that it begins from. Raises Superseded, EpochLeft; begun anew, it begins from the start.
        """
        first: Page | None = None
        token, found, seen = UUID(int=0), 0, Counter[str]()
        async for page in pages:
            if first is None:
                first, token = page, await self._begin(old, page.head[0])
                log.info("a resynchronisation begins", owner=self._owner, epoch=str(page.head[0]), position=page.head[1])
            if page.head[0] != first.head[0]:
                raise Superseded(f"{self._owner} began another epoch")
            seen[page.type] += await self._replace(token, page)
            found += len(page.events)
            if found // TOLD_EACH != (found - len(page.events)) // TOLD_EACH:
                log.info("a resynchronisation goes on", owner=self._owner, type=page.type, things=found)
        if first is None:
            raise Superseded(f"{self._owner} did not say where its feed ends")
        unknown = await self._end(token, first, seen)
        log.info("a resynchronisation has ended", owner=self._owner, things=found, unknown=unknown)
        return unknown

    async def _begin(self, old: str | None, epoch: UUID) -> UUID:
        """Leaves the cursor, and its epoch for another one; gives what each further transaction has to find.

        The epoch of a resynchronisation that broke off is left like one that was followed: what it replaced is there.
        """
        select = (
            f"SELECT coalesce(epoch, resynchronising_epoch) AS epoch, {left.is_left(self._service, ':epoch')} AS was_left FROM {self._service}.feed_state"
            " WHERE owner = :owner AND cursor IS NOT DISTINCT FROM :old FOR NO KEY UPDATE"
        )
        leave = (
            f"UPDATE {self._service}.feed_state SET cursor = NULL, epoch = NULL, position = NULL,"
            " resynchronisation = gen_random_uuid(), resynchronising_epoch = :epoch WHERE owner = :owner RETURNING resynchronisation"
        )
        async with self._platform.transaction() as tx:
            present = (await tx.execute(select, {"owner": self._owner, "old": old, "epoch": epoch})).first()
            if present is None:
                raise Superseded(f"the cursor of {self._owner}'s feed was moved elsewhere")
            if present.was_left:
                raise EpochLeft(f"{self._owner} would have its state taken over in an epoch that was left", feed=self._owner)
            if present.epoch is not None and present.epoch != epoch:
                await left.leave(tx, self._service, self._owner, present.epoch)
            token: UUID = (await tx.execute(leave, {"owner": self._owner, "epoch": epoch})).value()
        return token

    async def _hold(self, tx: Transaction, token: UUID) -> None:
        """Keeps everybody else out who applies what the owner says. Raises Superseded."""
        same = (
            f"SELECT 1 FROM {self._service}.feed_state WHERE owner = :owner AND cursor IS NULL AND resynchronisation = :token"
            " FOR NO KEY UPDATE"
        )
        if (await tx.execute(same, {"owner": self._owner, "token": token})).first() is None:
            raise Superseded(f"{self._owner}'s feed is followed or resynchronised with elsewhere")

    async def _replace(self, token: UUID, page: Page) -> int:
        """Replaces what is known of these things; how many of them have a known row."""
        try:
            return await self._apply(token, page, each=False)
        except Exception as error:
            if isinstance(error, Superseded) or failure_of(error) is None:
                raise
            return await self._apply(token, page, each=True)

    async def _apply(self, token: UUID, page: Page, *, each: bool) -> int:
        """In one transaction; where `each` is an attempt of its own, what fails is set aside as an event would be."""
        known, ids = self._known.get(page.type), [UUID(event.entity_id) for event in page.events]
        async with self._platform.transaction() as tx:
            await self._hold(tx, token)
            await parked.forget(tx, self._service, self._owner, page.type, ids)
            if not each:
                await self._take(tx, page.type, page.events)
            for event in page.events if each else ():
                if failure := await attempt(tx, lambda tx, event: self._take(tx, page.type, [event]), event):
                    lane = Lane(self._owner, page.type, UUID(event.entity_id))
                    await parked.put(tx, self._service, lane, event, self._encode(event), failure)
                    log.warning(
                        "a thing's state failed, and is set aside", owner=self._owner, type=page.type, entity_id=event.entity_id,
                        error=failure.name, why=failure.sentence,
                    )  # fmt: skip
            return await known.count(tx, ids) if known else 0

    async def _take(self, tx: Transaction, type: str, events: Sequence[Any]) -> None:
        if type in self._known:
            await self._known[type].replace(tx, events)
        else:
            for event in events:
                await self._handlers[type](tx, event)

    async def _end(self, token: UUID, first: Page, seen: Mapping[str, int]) -> Mapping[str, int]:
        """Moves the cursor to the head, and closes what the owner does not know.

        What lay aside in other epochs is void, and goes to the journal.
        """
        move = (
            f"UPDATE {self._service}.feed_state SET cursor = :cursor, epoch = :epoch, position = :position,"
            " resynchronisation = NULL, resynchronising_epoch = NULL WHERE owner = :owner"
        )
        epoch, position = first.head
        async with self._platform.transaction() as tx:
            await self._hold(tx, token)
            await parked.void(tx, self._service, self._owner, epoch)
            for known in self._known.values():
                await known.close_unknown(tx, epoch)
            unknown = {type: await known.count(tx) - seen.get(type, 0) for type, known in self._known.items()}
            unknown |= {type: await unsaid(tx, epoch) for type, unsaid in self._unsaid.items()}
            await tx.execute(
                move, {"cursor": first.cursor, "epoch": epoch, "position": position, "owner": self._owner}
            )  # fmt: skip
        return unknown
