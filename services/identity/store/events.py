"""What identity announces."""

from dbcommon import feed
from dbcommon.database import Transaction
from dbcommon.feed import Event
from dbcommon.references import present_epoch
from identity.tables import outbox


async def announce(tx: Transaction, event: Event) -> None:
    """Tells other services of a change, once the entity's row is inserted or locked."""
    await feed.append(tx, outbox, event)


async def expect_epoch(tx: Transaction) -> None:
    """Raises FeedStale until the relay has opened the epoch of this life of the database: before, no state changes."""
    await present_epoch(tx, "identity")
