"""When a station can be booked: the weekly schedule, and the slots that follow from it in the station's zone.

A slot is (station, local date, local start). A local start that a date does not have (clocks go forward) is not offered; one
that it has twice means the first. A slot ends when the clock on the wall shows its end, or is moved past it: so slots that do
not overlap by that clock do not overlap as instants.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from faults import FailedPrecondition, InvalidArgument

SEARCH_DAYS_MAX = 31
LONGEST = timedelta(days=2)
"""No slot lasts as long: 1,440 minutes, and what a change of the clocks adds."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class SlotFull(FailedPrecondition):
    """No place is left in that slot."""

    reason = "SLOT_FULL"


class SlotNotOffered(FailedPrecondition):
    """The station's schedule has no such slot on that date."""

    reason = "SLOT_NOT_OFFERED"


class SlotsOverlap(InvalidArgument):
    """Slots of one day overlap."""

    reason = "SLOTS_OVERLAP"
    common = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledSlot:
    """A slot of the week; `weekday` is 1 for Monday to 7 for Sunday, as google.type.DayOfWeek has it."""

    weekday: int
    start: time
    length_minutes: int
    capacity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The week of a station."""

    station_id: UUID
    slots: Sequence[ScheduledSlot]
    version: int = 0
    update_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotKey:
    """What a slot is, within its station."""

    date: date
    start: time


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A slot with its instants."""

    key: SlotKey
    start_time: datetime
    end_time: datetime
    capacity: int
    taken: int = 0
    overlapped: bool = False
    """Whether bookings are kept in another slot, of an earlier schedule, that lasts into this one."""

    @property
    def places_left(self) -> int:
        """0 where a capacity was lowered below what is booked, too."""
        return 0 if self.overlapped else max(0, self.capacity - self.taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """What bookings knows of a station: the facts of its known row."""

    station_id: UUID
    time_zone: str
    currency_code: str
    in_use: bool = True
    """Whether new things may refer to it: it is neither suspended nor deleted."""


DEFAULT_WEEK = tuple(
    ScheduledSlot(weekday=weekday, start=time(hour), length_minutes=180, capacity=2)
    for weekday in range(1, 8)
    for hour in (12, 15, 18, 21)
)


def check_week(slots: Sequence[ScheduledSlot]) -> None:
    """Refuses a week in which two slots overlap, also across midnight. A slot may begin where another ends."""
    week_minutes = 7 * 24 * 60
    starts = [((slot.weekday - 1) * 1440 + slot.start.hour * 60 + slot.start.minute, slot) for slot in slots]
    starts.sort(key=lambda entry: entry[0])
    for index, (start, slot) in enumerate(starts):
        following, other = starts[(index + 1) % len(starts)]
        gap = (following - start) % week_minutes or (week_minutes if len(starts) == 1 else 0)
        if slot.length_minutes > gap:
            day = WEEKDAYS[slot.weekday - 1]
            problem = f"{day} {slot.start:%H:%M} lasts into {WEEKDAYS[other.weekday - 1]} {other.start:%H:%M}"
            raise SlotsOverlap({"slots": problem}, weekday=day)


def instants(key: SlotKey, length_minutes: int, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
    """Start and end in UTC; None where the date has no such local start, or one of them is outside of all years there are."""
    local = datetime.combine(key.date, key.start)
    try:
        start, end = reached(local, zone), reached(local + timedelta(minutes=length_minutes), zone)
        meant = start.astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        return None
    return (start, end) if meant == local else None


def reached(local: datetime, zone: ZoneInfo) -> datetime:
    """The first instant, in UTC, at which clocks of the zone show that local time or a later one. Raises OverflowError."""
    instant = local.replace(tzinfo=zone).astimezone(UTC)  # fold 0: the first of two, or what it were without the change
    if instant.astimezone(zone).replace(tzinfo=None) == local:
        return instant
    before, after = local.replace(tzinfo=zone, fold=1).astimezone(UTC), instant
    while after - before > timedelta(seconds=1):  # clocks are moved on a whole second
        middle = (before + (after - before) / 2).replace(microsecond=0)
        before, after = (before, middle) if middle.astimezone(zone).replace(tzinfo=None) >= local else (middle, after)
    return after


def slots_of_day(day: date, week: Sequence[ScheduledSlot], zone: ZoneInfo) -> list[Slot]:
    """The slots that a schedule offers on a local date, by start."""
    scheduled = sorted((slot for slot in week if slot.weekday == day.isoweekday()), key=lambda slot: slot.start)
    return [offered for slot in scheduled if (offered := _on(day, slot, zone))]


def _on(day: date, scheduled: ScheduledSlot, zone: ZoneInfo) -> Slot | None:
    """The slot of a local date; None where the clocks pass over its start."""
    key = SlotKey(date=day, start=scheduled.start)
    times = instants(key, scheduled.length_minutes, zone)
    return Slot(key=key, start_time=times[0], end_time=times[1], capacity=scheduled.capacity) if times else None


def slot_offered(key: SlotKey, week: Sequence[ScheduledSlot], station: Station) -> Slot:
    """The slot of that key; raises SlotNotOffered."""
    if offered := _offered(key, week, ZoneInfo(station.time_zone)):
        return offered
    message = f"the station has no slot on {key.date} at {key.start:%H:%M}"
    raise SlotNotOffered(message, date=key.date, start=f"{key.start:%H:%M}")


def _offered(key: SlotKey, week: Sequence[ScheduledSlot], zone: ZoneInfo) -> Slot | None:
    for scheduled in week:
        if scheduled.start == key.start and scheduled.weekday == key.date.isoweekday():
            return _on(key.date, scheduled, zone)
    return None


def left_over(kept: Iterable[Slot], week: Sequence[ScheduledSlot], station: Station) -> list[Slot]:
    """Those of the slots with bookings that a week does not offer as long as they are."""
    zone = ZoneInfo(station.time_zone)
    offered = [(slot, _offered(slot.key, week, zone)) for slot in kept]
    return [slot for slot, now in offered if now is None or (now.start_time, now.end_time) != (slot.start_time, slot.end_time)]


def with_bookings(offered: Iterable[Slot], kept: Mapping[SlotKey, Slot]) -> list[Slot]:
    """Slots of a schedule with the places that are taken; `kept` are those of two days more, before and after, with bookings."""
    others = sorted((slot for slot in kept.values() if slot.taken), key=lambda slot: slot.start_time)
    starts, gone = [slot.start_time for slot in others], [slot.start_time + LONGEST for slot in others]

    def overlapped(slot: Slot) -> bool:
        near = others[bisect_left(gone, slot.start_time) : bisect_left(starts, slot.end_time)]
        return any(other.end_time > slot.start_time and other.key != slot.key for other in near)

    return [replace(slot, taken=kept[slot.key].taken if slot.key in kept else 0, overlapped=overlapped(slot)) for slot in offered]


def full(slot: Slot) -> SlotFull:
    """The refusal for a slot without a place."""
    why = "overlaps one in which bookings are kept" if slot.overlapped and slot.taken < slot.capacity else "is full"
    message = f"the slot on {slot.key.date} at {slot.key.start:%H:%M} {why}"
    return SlotFull(message, date=slot.key.date, start=f"{slot.key.start:%H:%M}", capacity=slot.capacity)
