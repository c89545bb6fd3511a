"""Many bookings at once: callers that each take the next request, and repeat it until it is answered."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import time

from teppan.bookings.v1 import bookings_pb2

from demo.calls import Backend
from demo.scene import CAPACITY, FIRST_DAY, SLOTS_A_DAY, Scene, booking, day

CALLERS = 24
ELSEWHERE = 25
DEFAULT_HOURS = (12, 15, 18, 21)
A_DAY = SLOTS_A_DAY * CAPACITY


def wanted(scene: Scene, count: int) -> Iterator[bookings_pb2.CreateBookingRequest]:
    """So many requests for the main station: every place of every slot, day by day; in an order that spreads over the slots."""
    hours = 24 // SLOTS_A_DAY
    for number in range(count):
        date, place = divmod(number, A_DAY)
        start = time(place % SLOTS_A_DAY * hours)
        yield booking(scene.main, day(FIRST_DAY + date), start, number)


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
            answer = await backend.sure("bookings.CreateBooking", request, token)
            made.append(answer.booking)
            done()

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(caller())
    return made
