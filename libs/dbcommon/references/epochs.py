"""The epoch that an owner speaks in, inside a transaction: until its relay has opened the present one, it says nothing."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from dbcommon import feed
from faults import FeedStale


async def present_epoch(tx: AsyncConnection, service: str) -> UUID:
    """The epoch of this life of the database. Raises FeedStale where the newest one is of an earlier life."""
    epoch = await feed.present_epoch(tx, service)
    if epoch is None:
        raise FeedStale(f"the feed of {service} has not begun its epoch yet", feed=service)
    return epoch
