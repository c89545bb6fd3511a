"""What the owner of a thing says of it."""

from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from dbcommon.references.states import Referent


class Answer(Protocol):
    """What an owner answered for one item."""

    @property
    def epoch(self) -> UUID:
        """Of the owner's feed."""

    @property
    def state(self) -> int:
        """A Referent."""

    @property
    def version(self) -> int:
        """Of the entity, within the epoch."""

    @property
    def facts(self) -> Any:
        """The entity as its events carry it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an owner has of one thing that it is asked about."""

    state: int
    """A Referent; 0 where nothing refers to things of that type."""
    version: int
    """Of the thing, within the epoch of the feed."""
    facts: bytes | None
    """A serialised `google.protobuf.Any`."""


ABSENT = Found(state=Referent.NOT_FOUND, version=0, facts=None)
"""There is no such thing, or not in that tenant."""
