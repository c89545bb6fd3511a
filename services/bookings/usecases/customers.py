"""Customers of a station."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bookings.domain.customers import Customer, NewCustomer
from bookings.store import customers as store
from callers import Caller
from dbcommon.database import Database
from dbcommon.private import Keyring
from dbcommon.references import References, Wanted
from dbcommon.requests import Requests
from faults import PermissionDenied


@dataclass(frozen=True, slots=True, kw_only=True)
class Customers:
    """The calls of CustomersService."""

    app: Database
    requests: Requests
    references: References
    keyring: Keyring
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]

    async def create(self, caller: Caller, wanted: NewCustomer, *, request_id: UUID) -> Customer:
        """Raises PermissionDenied, CustomerEmailTaken, ReferenceNotFound, ReferenceClosed, FeedStale, PeerUnavailable."""
        if wanted.user_id and not caller.administers_platform and caller.user_id != wanted.user_id:
            # Before any look-up: its answer would say whether there is such a user.
            raise PermissionDenied("only that user, or a platform administrator, makes a customer of a user", field="user_id")
        station = wanted.station_id
        request = self.requests.request(caller, "CreateCustomer", tenant=station, request_id=request_id, content=wanted)
        now = self.now()
        customer = Customer(
            customer_id=self.new_id(),
            station_id=station,
            name=wanted.name,
            email=wanted.email,
            phone=wanted.phone,
            user_id=wanted.user_id,
            version=1,
            create_time=now,
            update_time=now,
        )
        references = [Wanted(field="station_id", type="identity.Station", id=station)]
        if wanted.user_id:
            references.append(Wanted(field="user_id", type="identity.User", id=wanted.user_id))

        async def attempt() -> Customer:
            await self.references.ensure_known(references)
            async with self.app.transaction(tenant=station) as tx:
                await self.requests.begin(tx, request, made=customer.customer_id)
                return await store.insert_customer(tx, self.keyring, customer)

        return await self.requests.once(request, attempt, lambda made: self._get(station, made))

    async def _get(self, station_id: UUID, customer_id: UUID) -> Customer:
        return await store.get_customer(self.app, self.keyring, station_id, customer_id)
