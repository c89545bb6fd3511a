"""What other services are told of bookings that they refer to."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from bookings.domain.bookings import Booking
from bookings.store import bookings as store
from bookings.usecases.bookings import EVENT_TYPE, referent_state
from dbcommon.database import Database, Transaction
from dbcommon.feed import Feed
from dbcommon.references import ABSENT, Found, Listed, ReferentPage, Registry, answering_epoch, referents
from faults import InvalidArgument
from referring import Column

TYPES = (EVENT_TYPE,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Referents:
    """Answers those who refer to bookings."""

    platform: Database
    feed: Feed
    registry: Registry
    encode: Callable[[Booking], bytes]

    async def check(self, type: str, items: Sequence[tuple[UUID | None, UUID]]) -> tuple[UUID, Sequence[Found]]:
        """The epoch, and an answer for each item in order; a booking of another station is not found. Raises InvalidArgument.

        Of a type that this code does not know nothing is said: NOT_FOUND would be a reason to delete what refers to it.
        """
        if type != EVENT_TYPE:
            raise InvalidArgument({"type": f"it must be {EVENT_TYPE}"})
        async with self.platform.transaction(read_only=True) as tx:
            epoch = await answering_epoch(tx, "bookings")  # before them: no answer is of an older one
            rows = await store.referents(tx, [id for _, id in items])
        found = {(row.station_id, row.booking_id): row for row in rows if row.booking_id}
        return epoch, [self._found(found.get((station_id, id))) if station_id else ABSENT for station_id, id in items]

    async def register(self, columns: Sequence[Column]) -> tuple[UUID, int]:
        """Raises InvalidArgument, PurgeUnfinished."""
        return await self.registry.register(columns)

    def stream(self, type: str, after_id: UUID | None) -> AsyncIterator[ReferentPage]:
        """All bookings. Raises InvalidArgument, FeedStale."""
        if type != EVENT_TYPE:
            raise InvalidArgument({"type": f"it must be {EVENT_TYPE}"})
        return referents(self.platform, "bookings", self.feed, self._bookings, after_id)

    async def _bookings(self, tx: Transaction, after: UUID | None, limit: int) -> Sequence[Listed]:
        there = await store.referents_after(tx, after, limit)
        return [(booking.booking_id, booking.station_id, self._found(booking)) for booking in there if booking.booking_id]

    def _found(self, booking: Booking | None) -> Found:
        if booking is None:
            return ABSENT
        return Found(state=referent_state(booking), version=booking.version, facts=self.encode(booking))
