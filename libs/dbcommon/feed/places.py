"""Which places a feed has, and which cursors are of it.

A place is an epoch and a position. Positions go on from one epoch to the next, so the end of one is where the next begins. A
cursor past the end of its epoch was given out by a life of the database of which no more is left than up to that end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from faults import CursorDiverged, CursorExpired

Place = tuple[UUID, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A feed from its first epoch to its end."""

    epochs: Sequence[Place]
    """Oldest first, each with the position of its first event."""
    position: int
    """Of the last event."""
    dropped_through: int

    def check(self, place: Place) -> None:
        """Raises CursorDiverged where a place is of no known epoch or outside of its own, CursorExpired where it is not kept."""
        epoch, position = place
        bounds = self._bounds().get(epoch)
        if bounds is None or position < bounds[0]:
            raise CursorDiverged("the cursor is of no epoch that this feed knows; resynchronise", last_common_position=0)
        if position > bounds[1]:
            raise CursorDiverged("the cursor is past the end of its epoch; resynchronise", last_common_position=bounds[1])
        if position < self.dropped_through:
            raise CursorExpired("what follows the cursor is no longer kept; resynchronise", dropped_through=self.dropped_through)

    def at(self, position: int) -> Place:
        """The place at a position that is not past the end."""
        return next((epoch, position) for epoch, (before, _) in reversed(self._bounds().items()) if before <= position)

    def _bounds(self) -> dict[UUID, tuple[int, int]]:
        """For each epoch, oldest first, the positions before its first event and of its last."""
        ends = [*(first - 1 for _, first in self.epochs[1:]), self.position]
        return {epoch: (first - 1, end) for (epoch, first), end in zip(self.epochs, ends, strict=True)}
