"""What other services are told of stations and users that they refer to."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from dbcommon.database import Database, Transaction
from dbcommon.feed import Feed
from dbcommon.references import ABSENT, Found, Listed, ReferentPage, Registry, answering_epoch, referents
from faults import InvalidArgument
from identity.domain.stations import Station
from identity.domain.users import User
from identity.store import stations as station_store
from identity.store import users as user_store
from identity.usecases import stations, users
from referring import Column

TYPES = (stations.EVENT_TYPE, users.EVENT_TYPE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Referents:
    """Answers those who refer to stations and users."""

    platform: Database
    feed: Feed
    registry: Registry
    encode_station: Callable[[Station], bytes]
    encode_user: Callable[[User], bytes]

    async def check(self, type: str, items: Sequence[tuple[UUID | None, UUID]]) -> tuple[UUID, Sequence[Found]]:
        """The epoch, and an answer for each item in order. A station belongs to itself, a user to none. Raises InvalidArgument.

        Of a type that this code does not know nothing is said: NOT_FOUND would be a reason to delete what refers to it.
        """
        if type not in TYPES:
            raise InvalidArgument({"type": f"it must be one of {', '.join(TYPES)}"})
        async with self.platform.transaction(read_only=True) as tx:
            epoch = await answering_epoch(tx, "identity")  # before them: no answer is of an older one
            found = await self._found(tx, type, [id for _, id in items])
        own = type == stations.EVENT_TYPE
        return epoch, [found.get(id, ABSENT) if tenant is None or (own and tenant == id) else ABSENT for tenant, id in items]

    async def register(self, columns: Sequence[Column]) -> tuple[UUID, int]:
        """Raises InvalidArgument, PurgeUnfinished."""
        return await self.registry.register(columns)

    def stream(self, type: str, after_id: UUID | None) -> AsyncIterator[ReferentPage]:
        """All stations, or all users. Raises InvalidArgument, FeedStale."""
        readers = {stations.EVENT_TYPE: self._stations, users.EVENT_TYPE: self._users}
        if type not in readers:
            raise InvalidArgument({"type": f"it must be one of {', '.join(readers)}"})
        return referents(self.platform, "identity", self.feed, readers[type], after_id)

    async def _stations(self, tx: Transaction, after: UUID | None, limit: int) -> Sequence[Listed]:
        there = await station_store.stations_after(tx, after, limit)
        return [(station.station_id, station.station_id, self._station(station)) for station in there]

    async def _users(self, tx: Transaction, after: UUID | None, limit: int) -> Sequence[Listed]:
        return [(user.user_id, None, self._user(user)) for user in await user_store.users_after(tx, after, limit)]

    async def _found(self, tx: Transaction, type: str, ids: Sequence[UUID]) -> dict[UUID, Found]:
        if type == stations.EVENT_TYPE:
            return {id: self._station(station) for id, station in (await station_store.stations_of(tx, ids)).items()}
        return {id: self._user(user) for id, user in (await user_store.users_of(tx, ids)).items()}

    def _station(self, station: Station) -> Found:
        return Found(state=stations.referent_state(station), version=station.version, facts=self.encode_station(station))

    def _user(self, user: User) -> Found:
        return Found(state=users.referent_state(user), version=user.version, facts=self.encode_user(user))
