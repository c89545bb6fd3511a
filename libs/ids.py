"""New IDs: UUIDv7 (RFC 9562), so that rows made one after the other lie side by side in an index."""

from uuid import UUID

import uuid_utils
from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """An ID that nothing has yet."""
    return uuid7()


def new_text() -> str:
    """An ID that nothing has yet, as text."""
    return str(uuid_utils.uuid7())
