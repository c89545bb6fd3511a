"""The epoch that an owner speaks in, inside a transaction: until its relay has opened the present one, it says nothing."""

from uuid import UUID

from dbcommon import feed
from dbcommon.database import Transaction
from faults import DatabaseUnavailable, FeedStale


async def present_epoch(tx: Transaction, service: str) -> UUID:
    """The epoch of this life of the database. Raises FeedStale where the newest one is of an earlier life."""
    epoch = await feed.present_epoch(tx, service)
    if epoch is None:
        raise FeedStale(f"the feed of {service} has not begun its epoch yet", feed=service)
    return epoch


async def answering_epoch(tx: Transaction, service: str) -> UUID:
    """The same, for who answers what there is in the same transaction. Raises DatabaseUnavailable on a standby, which may lag."""
    if (await tx.execute("SELECT pg_is_in_recovery()")).value():
        raise DatabaseUnavailable("what there is is answered by the primary only, and this is a standby")
    return await present_epoch(tx, service)
