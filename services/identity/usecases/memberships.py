"""Memberships of a station."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from callers import Caller
from dbcommon.database import Database
from dbcommon.requests import Requests
from identity.domain.memberships import Member, NewMember, admit
from identity.domain.stations import expect_active
from identity.store import memberships as store
from identity.store import stations as station_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Memberships:
    """The calls of MembershipsService."""

    app: Database
    requests: Requests
    now: Callable[[], datetime]

    async def add(self, caller: Caller, wanted: NewMember, *, request_id: UUID) -> Member:
        """Raises InvalidArgument, StationNotFound, StationState, UserNotFound, MemberExists, MembershipsLimit."""
        station = wanted.station_id
        request = self.requests.request(caller, "AddMember", tenant=station, request_id=request_id, content=wanted)

        async def attempt() -> Member:
            member = admit(wanted, now=self.now())
            async with self.app.transaction(tenant=station) as tx:
                await self.requests.begin(tx, request, made=wanted.user_id)
                expect_active(await station_store.get_station(tx, station))
                await store.insert_member(tx, member)
                return member

        return await self.requests.once(request, attempt, lambda made: self._get(station, made))

    async def _get(self, station_id: UUID, user_id: UUID) -> Member:
        return await store.get_member(self.app, station_id, user_id)
