"""Schedules, and what is free."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from bookings.domain.bookings import deposit_deadline
from bookings.domain.policy import DEFAULT_POLICY, Policy
from bookings.domain.slots import (
    DEFAULT_WEEK,
    Schedule,
    ScheduledSlot,
    Slot,
    SlotFull,
    Station,
    check_week,
    left_over,
    slots_of_day,
    with_bookings,
)
from bookings.store import slots as store
from callers import Caller
from dbcommon.database import Database, Transaction
from dbcommon.references import References, Wanted
from dbcommon.requests import Requests
from faults import EtagStale, FailedPrecondition, ReferenceClosed


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSchedule:
    """What is asked for; no slots: the default week. An empty etag matches any version."""

    station_id: UUID
    slots: Sequence[ScheduledSlot]
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """The week as it is now, and what bookings keep of weeks before."""

    schedule: Schedule
    kept: Sequence[Slot]


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeSlot:
    """A slot as it can be booked now; `reason` is that of CreateBooking's refusal, and empty where a place is left."""

    slot: Slot
    reason: str

    @property
    def places_left(self) -> int:
        """0 where it cannot be booked."""
        return 0 if self.reason else self.slot.places_left


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """The calls of SlotsService."""

    app: Database
    requests: Requests
    references: References
    now: Callable[[], datetime]
    policy: Policy = DEFAULT_POLICY

    async def update(self, caller: Caller, wanted: NewSchedule, *, request_id: UUID) -> Replaced:
        """Raises SlotsOverlap, EtagStale, ReferenceNotFound, ReferenceClosed, FeedStale, PeerUnavailable."""
        check_week(wanted.slots)
        station = wanted.station_id
        request = self.requests.request(caller, "UpdateSchedule", tenant=station, request_id=request_id, content=wanted)

        async def attempt() -> Replaced:
            await self._ensure_known([station])
            async with self.app.transaction(tenant=station) as tx:
                await self.requests.begin(tx, request, made=station)
                present = await store.lock_schedule(tx, station, self.now())
                if wanted.etag and wanted.etag != str(present.version):
                    raise EtagStale("the schedule changed since its etag was read", etag=str(present.version))
                new = Schedule(station_id=station, slots=wanted.slots, version=present.version + 1, update_time=self.now())
                await store.replace_schedule(tx, new)
                return await self._replaced(tx, replace(new, slots=new.slots or DEFAULT_WEEK))

        return await self.requests.once(request, attempt, self._again)

    async def search(self, station_ids: Sequence[UUID], first: date, last: date) -> AsyncIterator[tuple[Station, list[FreeSlot]]]:
        """Each station's slots of those local dates, with what is free. Raises ReferenceNotFound before anything is given."""
        await self._ensure_known(station_ids)
        for station_id in station_ids:
            async with self.app.transaction(tenant=station_id, read_only=True) as tx:
                station = await store.station(tx, station_id)
                week = (await store.schedule(tx, station_id)).slots
                kept = await store.slots_around(tx, station_id, first, last)
            zone = ZoneInfo(station.time_zone)
            days = (first + timedelta(days=n) for n in range((last - first).days + 1))
            offered = with_bookings((slot for day in days for slot in slots_of_day(day, week, zone)), kept)
            yield station, [FreeSlot(slot=slot, reason=self._reason(station, slot)) for slot in offered]

    def _reason(self, station: Station, slot: Slot) -> str:
        """With which reason a slot would be refused, in the order in which CreateBooking looks."""
        if not station.in_use:
            return ReferenceClosed.reason
        try:
            deposit_deadline(slot.start_time, self.policy, override_lead_time=False, now=self.now())
        except FailedPrecondition as refusal:
            return refusal.reason
        return "" if slot.places_left else SlotFull.reason

    async def _replaced(self, tx: Transaction, schedule: Schedule) -> Replaced:
        station = await store.station(tx, schedule.station_id)
        kept = await store.slots_left_over(tx, schedule.station_id, schedule.slots, self.now())
        return Replaced(schedule=schedule, kept=left_over(kept, schedule.slots, station))

    async def _again(self, station_id: UUID) -> Replaced:
        async with self.app.transaction(tenant=station_id, read_only=True) as tx:
            return await self._replaced(tx, await store.schedule(tx, station_id))

    async def _ensure_known(self, station_ids: Sequence[UUID]) -> None:
        wanted = [Wanted(field="station_id", type="identity.Station", id=id) for id in station_ids]
        await self.references.ensure_known(wanted)
