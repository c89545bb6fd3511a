"""What identity announces."""

from dbcommon import feed
from dbcommon.database import Transaction
from dbcommon.feed import Event
from identity.tables import outbox


async def announce(tx: Transaction, event: Event) -> None:
    """Tells other services of a change, once the entity's row is inserted or locked."""
    await feed.append(tx, outbox, event)
