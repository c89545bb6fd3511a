"""Schedules and free places."""

from collections.abc import Sequence
from datetime import date
from functools import partial
from uuid import UUID

from google.type.date_pb2 import Date
from google.type.timeofday_pb2 import TimeOfDay
from teppan.bookings.v1 import slots_pb2 as pb

from bookings.domain.slots import SEARCH_DAYS_MAX, Schedule, ScheduledSlot, Slot, Station
from bookings.usecases.slots import FreeSlot, NewSchedule, Replaced
from bookings.wire.values import date_from_pb, time_from_pb
from faults import InvalidArgument
from ids import parsed
from rpccommon.values import all_of, set_instant


def new_schedule_from_pb(request: pb.UpdateScheduleRequest) -> NewSchedule:
    """Raises InvalidArgument for a start that is no whole minute of a day."""
    starts = all_of(*(partial(time_from_pb, slot.start, f"slots[{number}].start") for number, slot in enumerate(request.slots)))
    slots = tuple(
        ScheduledSlot(weekday=slot.weekday, start=start, length_minutes=slot.length_minutes, capacity=slot.capacity)
        for slot, start in zip(request.slots, starts, strict=True)
    )
    return NewSchedule(station_id=parsed(request.station_id), slots=slots, etag=request.etag)


def schedule_to_pb(schedule: Schedule) -> pb.Schedule:
    """A week."""
    message = pb.Schedule(station_id=str(schedule.station_id), etag=str(schedule.version))
    for slot in schedule.slots:
        start = TimeOfDay(hours=slot.start.hour, minutes=slot.start.minute)
        message.slots.add(
            weekday=slot.weekday,
            start=start,
            length_minutes=slot.length_minutes,
            capacity=slot.capacity,
        )
    if schedule.update_time:
        set_instant(message.update_time, schedule.update_time)
    return message


def search_from_pb(request: pb.SearchAvailabilityRequest) -> tuple[list[UUID], date, date]:
    """Stations, first and last date. Raises InvalidArgument for no, or too many, days."""
    first, last = all_of(
        lambda: date_from_pb(request.first_date, "first_date"),
        lambda: date_from_pb(request.last_date, "last_date"),
    )
    if not 0 <= (last - first).days < SEARCH_DAYS_MAX:
        raise InvalidArgument({"last_date": f"1 to {SEARCH_DAYS_MAX} days, the first and the last included"})
    return [UUID(id) for id in request.station_ids], first, last


def replaced_to_pb(replaced: Replaced) -> pb.UpdateScheduleResponse:
    """A week, and the slots that bookings keep of weeks before."""
    message = pb.UpdateScheduleResponse(schedule=schedule_to_pb(replaced.schedule))
    for slot in replaced.kept:
        _when(message.kept_slots.add(bookings=slot.taken), slot)
    return message


def availability_to_pb(station: Station, slots: Sequence[FreeSlot]) -> pb.SearchAvailabilityResponse:
    """A station's slots."""
    message = pb.SearchAvailabilityResponse(station_id=str(station.station_id), time_zone=station.time_zone)
    for free in slots:
        shown = message.slots.add(capacity=free.slot.capacity, places_left=free.places_left, unavailable_reason=free.reason)
        _when(shown, free.slot)
    return message


def _when(message: pb.AvailableSlot | pb.KeptSlot, slot: Slot) -> None:
    day, start = slot.key.date, slot.key.start
    message.date.CopyFrom(Date(year=day.year, month=day.month, day=day.day))
    message.start.CopyFrom(TimeOfDay(hours=start.hour, minutes=start.minute))
    set_instant(message.start_time, slot.start_time)
    set_instant(message.end_time, slot.end_time)
