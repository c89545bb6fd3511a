"""An owner's things of one type, all of them, for who has lost the thread of its feed."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from dbcommon.database import Database, Transaction
from dbcommon.feed import Feed
from dbcommon.references.answers import Found
from dbcommon.references.epochs import present_epoch
from faults import FeedStale

PAGE_SIZE = 500

Listed = tuple[UUID, UUID | None, Found]
"""ID, tenant, and what there is."""
Reader = Callable[[Transaction, UUID | None, int], Awaitable[Sequence[Listed]]]
"""Things by ID, after an ID, at most so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferentPage:
    """Some of an owner's things, by ID."""

    head: tuple[UUID, int]
    """The end of the feed, read before the first page."""
    referents: Sequence[Listed]
    complete: bool
    """Nothing follows."""


async def referents(
    platform: Database, service: str, feed: Feed, read: Reader, after_id: UUID | None
) -> AsyncIterator[ReferentPage]:
    """All things that `read` reads, each page in a short transaction of its own.

    The head comes first: what changes while this is read stands after it in the feed. Raises FeedStale where the epoch has
    changed meanwhile, since that is another database's state.
    """
    head, last, complete = await feed.head(), after_id, False
    while not complete:
        async with platform.transaction(read_only=True) as tx:
            if await present_epoch(tx, service) != head.epoch:
                raise FeedStale(f"the feed of {service} has begun another epoch; begin again", feed=service)
            found = await read(tx, last, PAGE_SIZE)
        complete = len(found) < PAGE_SIZE
        last = found[-1][0] if found else last
        yield ReferentPage(head=(head.epoch, head.position), referents=found, complete=complete)
