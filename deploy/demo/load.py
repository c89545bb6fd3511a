"""Many bookings at once: callers that each take the next request, and repeat it until it is answered."""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, time

from teppan.bookings.v1 import bookings_pb2, slots_pb2

from demo.calls import Backend, bearer
from demo.scene import CAPACITY, FIRST_DAY, Scene, booking, date_pb, day

CALLERS = 24
ELSEWHERE = 25
DEFAULT_HOURS = (12, 15, 18, 21)
SEARCH_DAYS = 31


async def wanted(backend: Backend, scene: Scene, count: int) -> list[bookings_pb2.CreateBookingRequest]:
    """So many requests for the main station: every place that is offered, day by day, in turn for each slot of a day.

    What is offered is asked for: where the clocks go forward, a day has no slot at 02:00.
    """
    found: list[bookings_pb2.CreateBookingRequest] = []
    ahead = FIRST_DAY
    while len(found) < count:
        slots = await _offered(backend, scene, ahead, ahead + SEARCH_DAYS - 1)
        for _, of_day in itertools.groupby(slots, key=lambda slot: (slot.date.year, slot.date.month, slot.date.day)):
            todays = list(of_day)
            for _ in range(CAPACITY):
                found += [
                    booking(
                        scene.main,
                        date(s.date.year, s.date.month, s.date.day),
                        time(s.start.hours, s.start.minutes),
                        len(found) + n,
                    )
                    for n, s in enumerate(todays)
                ]
        ahead += SEARCH_DAYS
    return found[:count]


async def _offered(backend: Backend, scene: Scene, first: int, last: int) -> list[slots_pb2.AvailableSlot]:
    request = slots_pb2.SearchAvailabilityRequest(
        station_ids=[scene.main.station_id], first_date=date_pb(day(first)), last_date=date_pb(day(last))
    )
    call = backend.method("slots.SearchAvailability")(request, metadata=bearer(scene.tokens["agent"]))
    return [slot async for answer in call for slot in answer.slots]


def elsewhere(scene: Scene) -> Iterator[bookings_pb2.CreateBookingRequest]:
    """A few for the other stations."""
    for place in scene.places[1:]:
        for number in range(ELSEWHERE):
            yield booking(place, day(FIRST_DAY + number), time(DEFAULT_HOURS[number % 4]), number)


async def book(
    backend: Backend, token: str, requests: Iterable[bookings_pb2.CreateBookingRequest], done: Callable[[], None]
) -> Sequence[bookings_pb2.Booking]:
    """Makes all of them, by concurrent callers; the bookings, as they were answered."""
    todo, made = iter(requests), []

    async def caller() -> None:
        for request in todo:
            answer = await backend.call("bookings.CreateBooking", request, token)
            made.append(answer.booking)
            done()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(caller())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return made
