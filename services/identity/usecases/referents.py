"""What other services are told of stations and users that they refer to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from dbcommon.database import Database
from dbcommon.feed import Feed
from dbcommon.references import ABSENT, Found
from identity.domain.stations import Station
from identity.domain.users import User
from identity.store import stations as station_store
from identity.store import users as user_store
from identity.usecases import stations, users


@dataclass(frozen=True, slots=True, kw_only=True)
class Referents:
    """Answers the checks of other services."""

    platform: Database
    feed: Feed
    encode_station: Callable[[Station], bytes]
    encode_user: Callable[[User], bytes]

    async def check(self, type: str, items: Sequence[tuple[UUID | None, UUID]]) -> tuple[UUID, Sequence[Found]]:
        """The epoch, and an answer for each item in order. A station belongs to itself, a user to none."""
        epoch = (await self.feed.head()).epoch
        found = await self._found(type, [id for _, id in items])
        own = type == stations.EVENT_TYPE
        return epoch, [found.get(id, ABSENT) if tenant is None or (own and tenant == id) else ABSENT for tenant, id in items]

    async def _found(self, type: str, ids: Sequence[UUID]) -> dict[UUID, Found]:
        if type == stations.EVENT_TYPE:
            async with self.platform.transaction(read_only=True) as tx:
                there = await station_store.stations_of(tx, ids)
            return {id: self._station(station) for id, station in there.items()}
        if type == users.EVENT_TYPE:
            async with self.platform.transaction(read_only=True) as tx:
                people = await user_store.users_of(tx, ids)
            return {id: self._user(user) for id, user in people.items()}
        return {}

    def _station(self, station: Station) -> Found:
        return Found(state=stations.referent_state(station), version=station.version, facts=self.encode_station(station))

    def _user(self, user: User) -> Found:
        return Found(state=users.referent_state(user), version=user.version, facts=self.encode_user(user))
