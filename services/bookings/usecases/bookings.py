"""Bookings: made, read, listed, cancelled."""

from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bookings.domain.bookings import UNPAYABLE, Booking, CancelledBy, NewBooking, ReferenceTaken, book, cancel
from bookings.domain.customers import CustomerNotFound
from bookings.domain.policy import DEFAULT_POLICY, Policy
from bookings.domain.slots import full, slot_offered, with_bookings
from bookings.store import bookings as store
from bookings.store import listing
from bookings.store import slots as slot_store
from bookings.store.listing import ListQuery
from callers import Caller
from dbcommon.database import Database, Transaction
from dbcommon.encoded import EncodedPage, encoded
from dbcommon.feed import Event
from dbcommon.keyset import Row, pages
from dbcommon.references import References, Referent, Wanted
from dbcommon.requests import Requests
from faults import PermissionDenied
from pages import Page
from rowwire import Encoder

EVENT_TYPE = "bookings.Booking"
DRAWS_MAX = 5
"""References drawn for a booking: that all are taken does not happen, unless what draws them is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """What is asked for. An empty etag matches any version."""

    station_id: UUID
    booking_id: UUID
    by: CancelledBy
    etag: str
    validate_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookings:
    """The calls of BookingsService. `encode` makes the payload of an event, `reference` a new booking's name for people."""

    app: Database
    requests: Requests
    references: References
    encode: Callable[[Booking], bytes]
    reference: Callable[[], str]
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]
    policy: Policy = DEFAULT_POLICY

    async def create(self, caller: Caller, wanted: NewBooking, *, request_id: UUID) -> Booking:
        """Raises SlotFull, SlotNotOffered, LeadTime, TooFarAhead, CustomerNotFound, PermissionDenied, and what references raise."""
        if wanted.override_lead_time and not caller.administers_platform:
            raise PermissionDenied("only a platform administrator books within the lead time", field="override_lead_time")
        station = wanted.station_id
        reference = [Wanted(field="station_id", type="identity.Station", id=station)]
        if wanted.validate_only:
            await self.references.ensure_known(reference)
            async with self.app.transaction(tenant=station, read_only=True) as tx:
                return await self._book(tx, caller, wanted, booking_id=None)
        request = self.requests.request(caller, "CreateBooking", tenant=station, request_id=request_id, content=wanted)
        booking_id = self.new_id()

        async def draw() -> Booking:
            async with self.app.transaction(tenant=station) as tx:
                await self.requests.begin(tx, request, made=booking_id)
                return await self._book(tx, caller, wanted, booking_id=booking_id)

        async def attempt() -> Booking:
            await self.references.ensure_known(reference)
            for _ in range(DRAWS_MAX - 1):
                with suppress(ReferenceTaken):
                    return await draw()
            return await draw()

        return await self.requests.once(request, attempt, lambda made: self._get(station, made))

    async def _book(self, tx: Transaction, caller: Caller, wanted: NewBooking, *, booking_id: UUID | None) -> Booking:
        """Books in a transaction; without an ID, only checks and prices."""
        offer = await slot_store.offer(tx, wanted.station_id, wanted.slot, wanted.customer_id, lock=booking_id is not None)
        slot = slot_offered(wanted.slot, offer.schedule.slots, offer.station)
        booking = book(
            wanted, slot, offer.station, self.policy, booking_id=booking_id, reference=self.reference(),
            created_by=caller.user_id, created_by_name=caller.name, now=self.now(),
        )  # fmt: skip
        if not offer.customer_known:
            raise CustomerNotFound("there is no such customer in this station", customer_id=wanted.customer_id)
        if booking_id is None:
            around = await slot_store.slots_around(tx, wanted.station_id, slot.key.date, slot.key.date)
            [taken] = with_bookings([slot], around)
        else:
            taken = await slot_store.take_slot(tx, wanted.station_id, slot, offer.slot)
        if not taken.places_left:
            raise full(taken)
        if booking_id is not None:
            await store.insert_booking(tx, booking, taken, booking_event(booking, self.encode, self.new_id()))
        return booking

    async def read(self, station_id: UUID, booking_id: UUID) -> Row:
        """A booking's row with its lines, to be shown. Raises BookingNotFound."""
        return await store.read(self.app, station_id, booking_id)

    async def _get(self, station_id: UUID, booking_id: UUID) -> Booking:
        """Raises BookingNotFound."""
        return await store.get(self.app, station_id, booking_id)

    def encoded(self, query: ListQuery, encoder: Encoder, pages_max: int) -> AsyncGenerator[EncodedPage, None]:
        """The same pages as bytes, at most `pages_max` of them."""
        return encoded(self.app, listing.keyset(query), encoder, pages_max=pages_max)

    def pages(self, query: ListQuery) -> AsyncGenerator[Page[Row], None]:
        """The pages of a list; no connection is held while one is being sent."""
        return pages(self.app, listing.keyset(query))

    async def cancel(self, caller: Caller, wanted: Cancellation, *, request_id: UUID) -> Booking:
        """Raises BookingNotFound, BookingState, EtagStale."""
        station = wanted.station_id
        if wanted.validate_only:
            present = await self._get(station, wanted.booking_id)
            return cancel(present, wanted.by, self.policy, etag=wanted.etag, now=self.now())
        request = self.requests.request(caller, "CancelBooking", tenant=station, request_id=request_id, content=wanted)

        async def attempt() -> Booking:
            async with self.app.transaction(tenant=station) as tx:
                await self.requests.begin(tx, request, made=wanted.booking_id)
                # The slot before the booking, as everywhere: the other order deadlocks.
                await slot_store.lock_slot_of_booking(tx, station, wanted.booking_id)
                present = await store.lock_booking(tx, station, wanted.booking_id)
                cancelled = cancel(present, wanted.by, self.policy, etag=wanted.etag, now=self.now())
                await store.save(tx, cancelled, booking_event(cancelled, self.encode, self.new_id()))
                return cancelled

        return await self.requests.once(request, attempt, lambda made: self._get(station, made))


def booking_event(booking: Booking, encode: Callable[[Booking], bytes], event_id: UUID) -> Event:
    """What others are told of a booking that changed; its row is locked."""
    if booking.booking_id is None:
        raise AssertionError("a booking that was only checked is not announced")
    return Event(
        event_id=event_id,
        type=EVENT_TYPE,
        entity_id=booking.booking_id,
        tenant=booking.station_id,
        version=booking.version,
        referent_state=referent_state(booking),
        payload=encode(booking),
    )


def referent_state(booking: Booking) -> Referent:
    """Whether new payments may refer to a booking."""
    return Referent.CLOSED if booking.state in UNPAYABLE else Referent.OPEN
