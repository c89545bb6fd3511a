"""A method a call: what peers know, then the rule, then one transaction."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from callers import Caller
from dbcommon.database import Database, Transaction
from dbcommon.feed import Event, Feed
from dbcommon.keyset import Row, pages
from dbcommon.references import Found, Listed, References, ReferentPage, Wanted, referents
from dbcommon.requests import Requests
from faults import InvalidArgument
from pages import Page
from payments import store
from payments.domain import Account, NewPayment, Payment, receive, record
from payments.store import ListQuery
from referring import Column

ACCOUNT_TYPE = "payments.Account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payments:
    """The calls of PaymentsService. `encode_...` make the payloads of events.

    `fresh` raises FeedStale where bookings' feed has not been heard for too long to take money for its bookings.
    """

    app: Database
    requests: Requests
    references: References
    fresh: Callable[[], None]
    encode_payment: Callable[[Payment], bytes]
    encode_account: Callable[[Account], bytes]
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]

    async def create(self, caller: Caller, wanted: NewPayment, *, request_id: UUID) -> Payment:
        """Raises Overpaid, CurrencyMismatch, ReferenceNotFound, ReferenceClosed, FeedStale, PeerUnavailable."""
        station = wanted.station_id
        request = self.requests.request(caller, "CreatePayment", tenant=station, request_id=request_id, content=wanted)
        payment_id = self.new_id()

        async def attempt() -> Payment:
            await self.references.ensure_known([Wanted(field="station_id", type="identity.Station", id=station)])
            booking = Wanted(field="booking_id", type="bookings.Booking", id=wanted.booking_id, tenant=station)
            await self.references.ensure_open(booking)
            self.fresh()
            async with self.app.transaction(tenant=station) as tx:
                await self.requests.begin(tx, request, made=payment_id)
                return await self._take(tx, caller, wanted, payment_id)

        return await self.requests.once(request, attempt, lambda made: self.get(station, made))

    async def _take(self, tx: Transaction, caller: Caller, wanted: NewPayment, payment_id: UUID) -> Payment:
        """Takes money in a transaction: locks the account, then writes payment and events; the account follows by itself."""
        before = await store.lock_account(tx, wanted.station_id, wanted.booking_id)
        after = receive(before, wanted)
        payment = record(
            wanted, before, payment_id=payment_id, created_by=caller.user_id, created_by_name=caller.name, now=self.now()
        )  # fmt: skip
        await store.record(
            tx, payment, before,
            _event(self.new_id(), "payments.Payment", payment_id, payment, self.encode_payment(payment)),
            _event(self.new_id(), ACCOUNT_TYPE, wanted.booking_id, after, self.encode_account(after)),
        )  # fmt: skip
        return payment

    async def get(self, station_id: UUID, payment_id: UUID) -> Payment:
        """Raises PaymentNotFound."""
        return await store.get(self.app, station_id, payment_id)

    def pages(self, query: ListQuery) -> AsyncGenerator[Page[Row], None]:
        """The pages of a list; no connection is held while one is being sent."""
        return pages(self.app, store.keyset(query))


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """What payments says of accounts without being asked. `encode` makes the payload of an event."""

    encode: Callable[[Account], bytes]
    new_id: Callable[[], UUID]

    async def closed(self, tx: Transaction, bookings: Sequence[UUID]) -> None:
        """Reports accounts in the transaction that closes them: no payment is under way any more, so what they have is final.

        Also where nothing was ever paid: bookings concludes nothing from silence.
        """
        accounts = await store.raise_versions(tx, bookings)
        events = [
            _event(self.new_id(), ACCOUNT_TYPE, account.booking_id, account, self.encode(account)) for account in accounts
        ]  # fmt: skip
        await store.announce(tx, *events)


def _event(event_id: UUID, type: str, entity_id: UUID, entity: Payment | Account, payload: bytes) -> Event:
    return Event(
        event_id=event_id, type=type, entity_id=entity_id, tenant=entity.station_id, version=entity.version, payload=payload
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Referents:
    """Answers other services: nothing of payments is referred to, but who follows its accounts may have lost the thread."""

    platform: Database
    feed: Feed
    encode: Callable[[Account], bytes]

    async def check(self, type: str, items: Sequence[tuple[UUID | None, UUID]]) -> tuple[UUID, Sequence[Found]]:
        """Raises InvalidArgument, whatever the type: NOT_FOUND would be a reason to delete what refers to it."""
        raise InvalidArgument({"type": "nothing of payments is referred to"})

    async def register(self, columns: Sequence[Column]) -> tuple[UUID, int]:
        """Raises InvalidArgument, whatever the columns."""
        raise InvalidArgument({f"columns[{n}].type": "nothing of payments is referred to" for n in range(len(columns))})

    def stream(self, type: str, after_id: UUID | None) -> AsyncIterator[ReferentPage]:
        """All accounts whose money has changed, by booking. Raises InvalidArgument, FeedStale."""
        if type != ACCOUNT_TYPE:
            raise InvalidArgument({"type": f"it must be {ACCOUNT_TYPE}"})
        return referents(self.platform, "payments", self.feed, self._accounts, after_id)

    async def _accounts(self, tx: Transaction, after: UUID | None, limit: int) -> Sequence[Listed]:
        there = await store.accounts_after(tx, after, limit)
        return [
            (account.booking_id, account.station_id, Found(state=0, version=account.version, facts=self.encode(account)))
            for account in there
        ]
