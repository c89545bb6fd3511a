"""What the servicer needs of a feed, and a consumer of its places."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

Place = tuple[UUID, int]
"""An epoch, and a position: dense over the whole feed, compared within an epoch only."""


class StoredEvent(Protocol):
    """An event as the source has it."""

    @property
    def event_id(self) -> UUID:
        """Its own ID."""

    @property
    def type(self) -> str:
        """What changed: "identity.Station"."""

    @property
    def entity_id(self) -> UUID:
        """Which of them."""

    @property
    def station_id(self) -> UUID | None:
        """Whose it is; None for what belongs to no tenant."""

    @property
    def epoch(self) -> UUID:
        """The epoch in which it was published."""

    @property
    def position(self) -> int:
        """Its place in the feed."""

    @property
    def version(self) -> int:
        """Of the entity, after the change."""

    @property
    def referent_state(self) -> int:
        """A value of `teppan.common.v1.ReferentState`."""

    @property
    def publish_time(self) -> datetime:
        """By the relay's clock."""

    @property
    def payload(self) -> bytes:
        """A serialised `google.protobuf.Any`."""


class Head(Protocol):
    """The end of a feed."""

    @property
    def epoch(self) -> UUID:
        """The present epoch."""

    @property
    def position(self) -> int:
        """Of the last event."""

    @property
    def complete_until(self) -> datetime:
        """Everything committed before it stands at or before `position`."""


class EventSource(Protocol):
    """A feed that can be read."""

    async def head(self) -> Head:
        """Its end, now."""

    async def start(self, *, after: Place | None, after_time: datetime | None, latest: bool) -> Place:
        """Where a stream begins. Raises CursorDiverged, CursorExpired."""

    async def after(
        self, place: Place, *, types: Sequence[str], tenants: Sequence[UUID], limit: int
    ) -> tuple[Sequence[StoredEvent], Place]:
        """The wanted ones among the next `limit` events, and the place after the last one looked at. Raises as `start`."""

    async def changed(self, position: int, timeout: float) -> None:
        """Returns when the head has passed `position`, or after `timeout` seconds."""
