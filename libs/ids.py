"""IDs. New ones are UUIDv7 (RFC 9562), so that rows made one after the other lie side by side in an index."""

from functools import lru_cache
from uuid import UUID

import uuid_utils
from uuid_utils.compat import uuid7

PARSED_CACHED = 4_096
CHARACTERS = 36


def parsed(text: str) -> UUID:
    """Returns an ID that is named again and again, such as a station's. Raises ValueError."""
    if len(text) != CHARACTERS:  # UUID() would take any number of hyphens, and the cache would keep them
        raise ValueError("an ID has 36 characters")
    return _parsed(text)


@lru_cache(maxsize=PARSED_CACHED)
def _parsed(text: str) -> UUID:
    return UUID(text)


def new_id() -> UUID:
    """An ID that nothing has yet."""
    return uuid7()


def new_text() -> str:
    """An ID that nothing has yet, as text."""
    return str(uuid_utils.uuid7())
