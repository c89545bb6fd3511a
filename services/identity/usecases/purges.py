"""Stations and users removed for ever. Identity asks those who refer to them, between its transactions: see dbcommon.references."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from callers import Caller
from dbcommon.database import Transaction
from dbcommon.references import Driver, Stage
from dbcommon.tenancy import NO_TENANT
from faults import Fault
from identity.domain import stations as station_rules
from identity.domain import users as user_rules
from identity.domain.stations import Station
from identity.domain.users import User
from identity.store import memberships
from identity.store import stations as station_store
from identity.store import users as user_store
from identity.usecases.stations import EVENT_TYPE as STATION_TYPE
from identity.usecases.stations import Change as StationChange
from identity.usecases.stations import Stations
from identity.usecases.users import EVENT_TYPE as USER_TYPE
from identity.usecases.users import Change as UserChange
from identity.usecases.users import Users

Thing = TypeVar("Thing", Station, User)

STATION_STAGES = {
    station_rules.State.DELETED: Stage.LEFT,
    station_rules.State.PURGING: Stage.PURGING,
    station_rules.State.PURGED: Stage.PURGED,
}
USER_STAGES = {
    user_rules.State.DISABLED: Stage.LEFT,
    user_rules.State.PURGING: Stage.PURGING,
    user_rules.State.PURGED: Stage.PURGED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeableStations:
    """Stations, as purges see them."""

    stations: Stations
    now: Callable[[], datetime]
    type: str = STATION_TYPE

    async def lock(self, tx: Transaction, id: UUID) -> tuple[Stage, int]:
        """Raises StationNotFound."""
        station = await station_store.get_station(tx, id, lock=True)
        return STATION_STAGES.get(station.state, Stage.KEPT), station.version

    async def advance(self, tx: Transaction, id: UUID, stage: Stage) -> int:
        """DELETED, or PURGING; announced."""
        state = next(state for state, each in STATION_STAGES.items() if each is stage)
        station = station_rules.advanced(await station_store.get_station(tx, id), state, now=self.now())
        await station_store.save_state(tx, station)
        await self.stations.announce(tx, station)
        return station.version

    async def erase(self, tx: Transaction, id: UUID) -> None:
        """The row stays, with its code: nothing in it is private. The members go."""
        station = station_rules.purged(await station_store.get_station(tx, id), now=self.now())
        await station_store.save_state(tx, station)
        await memberships.remove_of_station(tx, id)


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeableUsers:
    """Users, as purges see them."""

    users: Users
    now: Callable[[], datetime]
    type: str = USER_TYPE

    async def lock(self, tx: Transaction, id: UUID) -> tuple[Stage, int]:
        """Raises UserNotFound."""
        user = await user_store.get_user(tx, self.users.keyring, id, lock=True)
        return USER_STAGES.get(user.state, Stage.KEPT), user.version

    async def advance(self, tx: Transaction, id: UUID, stage: Stage) -> int:
        """DISABLED, or PURGING; announced."""
        state = next(state for state, each in USER_STAGES.items() if each is stage)
        user = user_rules.advanced(await user_store.get_user(tx, self.users.keyring, id), state, now=self.now())
        await user_store.save_state(tx, user)
        await self.users.announce(tx, user)
        return user.version

    async def erase(self, tx: Transaction, id: UUID) -> None:
        """The row stays, with nothing private in it. The memberships go."""
        user = user_rules.purged(await user_store.get_user(tx, self.users.keyring, id), now=self.now())
        await user_store.erase(tx, self.users.keyring, user)
        await memberships.remove_of_user(tx, id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purging:
    """The calls PurgeStation and PurgeUser. `patience` is for how many seconds a call drives the purge itself.

    A request points to the thing that it is about: its repeat drives the purge on. So what holds a purge back is answered by
    what is the case, each time, and not remembered.
    """

    stations: Stations
    users: Users
    driver: Driver
    purgeable_stations: PurgeableStations
    purgeable_users: PurgeableUsers

    async def station(self, caller: Caller, wanted: StationChange, *, request_id: UUID, patience: float) -> Station:
        """Raises StationNotFound, StationState, EtagStale, StillReferenced, NotClosedYet, PeerUnavailable, FeedStale."""
        requests, station_id = self.stations.requests, wanted.station_id
        request = requests.request(caller, "PurgeStation", tenant=NO_TENANT, request_id=request_id, content=wanted)

        async def driven(id: UUID) -> Station:
            return await self._driven(STATION_TYPE, id, self.stations.get, station_rules.expect_beyond, patience)

        async def attempt() -> Station:
            async with self.stations.platform.transaction() as tx:
                await requests.begin(tx, request, made=station_id)
                present = await station_store.get_station(tx, station_id, lock=True)
                station_rules.expect_purgeable(present, etag=wanted.etag)
                await self.driver.purges.begin(tx, self.purgeable_stations, station_id)
            return await driven(station_id)

        return await requests.once(request, attempt, driven)

    async def user(self, caller: Caller, wanted: UserChange, *, request_id: UUID, patience: float) -> User:
        """Raises UserNotFound, UserState, EtagStale, StillReferenced, NotClosedYet, PeerUnavailable, FeedStale."""
        requests, user_id = self.users.requests, wanted.user_id
        request = requests.request(caller, "PurgeUser", tenant=NO_TENANT, request_id=request_id, content=wanted)

        async def driven(id: UUID) -> User:
            return await self._driven(USER_TYPE, id, self.users.get, user_rules.expect_beyond, patience)

        async def attempt() -> User:
            async with self.users.platform.transaction() as tx:
                await requests.begin(tx, request, made=user_id)
                present = await user_store.get_user(tx, self.users.keyring, user_id, lock=True)
                user_rules.expect_purgeable(present, etag=wanted.etag)
                await self.driver.purges.begin(tx, self.purgeable_users, user_id)
            return await driven(user_id)

        return await requests.once(request, attempt, driven)

    async def _driven(
        self,
        type: str,
        id: UUID,
        get: Callable[[UUID], Awaitable[Thing]],
        expect_beyond: Callable[[Thing], None],
        patience: float,
    ) -> Thing:
        """The thing once it cannot come back; whatever keeps it from its end then is not the caller's to wait for."""
        try:
            await self.driver.drive(type, id, patience=patience)
        except Fault as fault:
            thing = await get(id)
            try:
                expect_beyond(thing)
            except Fault:
                raise fault from None
            return thing
        thing = await get(id)
        expect_beyond(thing)
        return thing
