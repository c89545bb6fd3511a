"""Schedules, and what is offered by them, as tests set and read them."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from google.type.date_pb2 import Date
from google.type.timeofday_pb2 import TimeOfDay
from teppan.bookings.v1 import slots_pb2

from tests.integration.asked import new
from tests.integration.stage import Teppan

Week = Sequence[tuple[int, int, int, int]]
"""Of (weekday, hour, minutes, capacity)."""


def schedule_request(station: str, week: Week, **fields: Any) -> slots_pb2.UpdateScheduleRequest:
    """Replaces the week of a station."""
    slots = [
        slots_pb2.ScheduledSlot(weekday=weekday, start=TimeOfDay(hours=hour), length_minutes=minutes, capacity=capacity)
        for weekday, hour, minutes, capacity in week
    ]
    return slots_pb2.UpdateScheduleRequest(request_id=new(), station_id=station, slots=slots, **fields)


async def replaced(teppan: Teppan, station: str, week: Week) -> slots_pb2.UpdateScheduleResponse:
    """The answer to that."""
    request = schedule_request(station, week)
    answer: slots_pb2.UpdateScheduleResponse = await teppan.slots.UpdateSchedule(request, metadata=teppan.member(station))
    return answer


async def offered(teppan: Teppan, station: str, first: date, last: date | None = None) -> list[slots_pb2.AvailableSlot]:
    """The slots of some dates."""
    last = last or first
    request = slots_pb2.SearchAvailabilityRequest(
        station_ids=[station],
        first_date=Date(year=first.year, month=first.month, day=first.day),
        last_date=Date(year=last.year, month=last.month, day=last.day),
    )
    (answer,) = [message async for message in teppan.slots.SearchAvailability(request, metadata=teppan.admin)]
    return list(answer.slots)
