"""Stations: made, read, listed, and taken from one state to another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from callers import Caller
from dbcommon.database import Database, Transaction
from dbcommon.feed import Event
from dbcommon.references import Referent
from dbcommon.requests import Requests
from dbcommon.tenancy import NO_TENANT
from identity.domain.stations import (
    BEYOND,
    DELETE,
    RESUME,
    SUSPEND,
    UNDELETE,
    NewStation,
    State,
    Station,
    Transition,
    changed,
    check_place,
    found,
)
from identity.domain.users import PlatformRole
from identity.store import events
from identity.store import stations as store
from pages import Page

EVENT_TYPE = "identity.Station"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Which station is to change its state. An empty etag matches any version."""

    station_id: UUID
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stations:
    """The calls of StationsService. `requests` are those of the platform; `encode` makes the payload of an event."""

    app: Database
    platform: Database
    requests: Requests
    encode: Callable[[Station], bytes]
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]

    async def create(self, caller: Caller, wanted: NewStation, *, request_id: UUID) -> Station:
        """Raises InvalidArgument for a zone or a currency that there is not, StationCodeTaken."""
        check_place(wanted)
        request = self.requests.request(caller, "CreateStation", tenant=NO_TENANT, request_id=request_id, content=wanted)
        station = found(wanted, station_id=self.new_id(), now=self.now())

        async def attempt() -> Station:
            async with self.platform.transaction() as tx:
                await self.requests.begin(tx, request, made=station.station_id)
                await store.insert_station(tx, station)
                await self.announce(tx, station)
                return station

        return await self.requests.once(request, attempt, self.get)

    async def get(self, station_id: UUID) -> Station:
        """Raises StationNotFound."""
        return await store.read_station(self.app, station_id)

    async def some(self, station_ids: Sequence[UUID]) -> list[Station | None]:
        """Each for itself, in order."""
        there = await store.stations_of(self.platform, station_ids)
        return [there.get(id) for id in station_ids]

    async def page(self, caller: Caller, *, show_deleted: bool, after: str | None, size: int) -> Page[Station]:
        """The stations that a caller may see, by code: all for the platform, one's own for everybody else."""
        sees_all = caller.platform_role in {PlatformRole.SUPPORT, PlatformRole.ADMIN}
        among = None if sees_all else caller.roles
        return await store.page(self.platform, among=among, show_deleted=show_deleted, after=after, size=size)

    async def suspend(self, caller: Caller, wanted: Change, *, request_id: UUID) -> Station:
        """Raises StationNotFound, StationState, EtagStale, as the three below."""
        return await self._change(caller, "SuspendStation", SUSPEND, wanted, request_id)

    async def resume(self, caller: Caller, wanted: Change, *, request_id: UUID) -> Station:
        """In use again."""
        return await self._change(caller, "ResumeStation", RESUME, wanted, request_id)

    async def delete(self, caller: Caller, wanted: Change, *, request_id: UUID) -> Station:
        """Softly: the row stays."""
        return await self._change(caller, "DeleteStation", DELETE, wanted, request_id)

    async def undelete(self, caller: Caller, wanted: Change, *, request_id: UUID) -> Station:
        """Suspended, whatever it was before."""
        return await self._change(caller, "UndeleteStation", UNDELETE, wanted, request_id)

    async def _change(self, caller: Caller, method: str, transition: Transition, wanted: Change, request_id: UUID) -> Station:
        request = self.requests.request(caller, method, tenant=NO_TENANT, request_id=request_id, content=wanted)

        async def attempt() -> Station:
            async with self.platform.transaction() as tx:
                await self.requests.begin(tx, request, made=wanted.station_id)
                present = await store.get_station(tx, wanted.station_id, lock=True)
                await events.expect_epoch(tx)
                station = changed(present, transition, etag=wanted.etag, now=self.now())
                await store.save_state(tx, station)
                await self.announce(tx, station)
                return station

        return await self.requests.once(request, attempt, self.get)

    async def announce(self, tx: Transaction, station: Station) -> None:
        """Tells other services of a station whose row is inserted or locked."""
        event = Event(
            event_id=self.new_id(),
            type=EVENT_TYPE,
            entity_id=station.station_id,
            tenant=station.station_id,
            version=station.version,
            referent_state=referent_state(station),
            payload=self.encode(station),
        )
        await events.announce(tx, event)


def referent_state(station: Station) -> Referent:
    """Whether anything new may refer to a station, and whether it is for ever that nothing may."""
    if station.state in BEYOND:
        return Referent.PURGED
    return Referent.OPEN if station.state is State.ACTIVE else Referent.CLOSED
