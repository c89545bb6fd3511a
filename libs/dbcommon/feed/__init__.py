"""The feed: what others learn from this service, as absolute states in an order that holds for each entity.

A change puts its event into `outbox`, in its own transaction, after it holds the lock of the entity's row. One relay moves
committed rows to `events`, with dense positions (see `dbcommon.relay`). Readers ask for positions; no transaction ID is ever
looked at.
"""

from dbcommon.feed.declaration import ACCESS, Event, append, appending, ddl, forget_epoch, present_epoch, tables
from dbcommon.feed.source import Feed, Head, StoredEvent

__all__ = [
    "ACCESS",
    "Event",
    "Feed",
    "Head",
    "StoredEvent",
    "append",
    "appending",
    "ddl",
    "forget_epoch",
    "present_epoch",
    "tables",
]
