"""Schedules, and what is free."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from bookings.domain.slots import DEFAULT_WEEK, Schedule, ScheduledSlot, Slot, Station, check_week, slots_of_day
from bookings.store import slots as store
from callers import Caller
from dbcommon.database import Database
from dbcommon.references import References, Wanted
from dbcommon.requests import Requests
from faults import EtagStale


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSchedule:
    """What is asked for; no slots: the default week. An empty etag matches any version."""

    station_id: UUID
    slots: Sequence[ScheduledSlot]
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """The calls of SlotsService."""

    app: Database
    requests: Requests
    references: References
    now: Callable[[], datetime]

    async def update(self, caller: Caller, wanted: NewSchedule, *, request_id: UUID) -> Schedule:
        """Raises SlotsOverlap, EtagStale, ReferenceNotFound, ReferenceClosed, FeedStale, PeerUnavailable."""
        check_week(wanted.slots)
        station = wanted.station_id
        request = self.requests.request(caller, "UpdateSchedule", tenant=station, request_id=request_id, content=wanted)

        async def attempt() -> Schedule:
            await self._ensure_known([station])
            async with self.app.transaction(tenant=station) as tx:
                await self.requests.begin(tx, request, made=station)
                present = await store.lock_schedule(tx, station, self.now())
                if wanted.etag and wanted.etag != str(present.version):
                    raise EtagStale("the schedule changed since its etag was read", etag=str(present.version))
                new = Schedule(station_id=station, slots=wanted.slots, version=present.version + 1, update_time=self.now())
                await store.replace_schedule(tx, new)
                return replace(new, slots=new.slots or DEFAULT_WEEK)

        return await self.requests.once(request, attempt, self._schedule)

    async def search(self, station_ids: Sequence[UUID], first: date, last: date) -> AsyncIterator[tuple[Station, list[Slot]]]:
        """Each station's slots of those local dates, with what is taken. Raises ReferenceNotFound before anything is given."""
        await self._ensure_known(station_ids)
        for station_id in station_ids:
            async with self.app.transaction(tenant=station_id, read_only=True) as tx:
                station = await store.station(tx, station_id)
                week = (await store.schedule(tx, station_id)).slots
                taken = await store.slots_between(tx, station_id, first, last)
            zone = ZoneInfo(station.time_zone)
            days = (first + timedelta(days=n) for n in range((last - first).days + 1))
            offered = (slot for day in days for slot in slots_of_day(day, week, zone))
            yield station, [replace(slot, taken=taken[slot.key].taken) if slot.key in taken else slot for slot in offered]

    async def _schedule(self, station_id: UUID) -> Schedule:
        return await store.read_schedule(self.app, station_id)

    async def _ensure_known(self, station_ids: Sequence[UUID]) -> None:
        wanted = [Wanted(field="station_id", type="identity.Station", id=id) for id in station_ids]
        await self.references.ensure_known(wanted)
