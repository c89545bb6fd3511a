"""The processes, wherever they run: one booking across all three; killed and started again."""

import asyncio
from datetime import time

from demo import listing, load, story
from demo.calls import Backend
from demo.scene import Scene, booking, day
from teppan.bookings.v1 import bookings_pb2

from tests.deployed import Deployment, eventually
from tests.traffic import deposit, own_station, state_of

LOAD = 300
PAID_EACH = 5
SECONDS = 60.0


async def test_one_booking_goes_through_all_three_services(backend: Backend, cast: Scene) -> None:
    told: list[str] = []
    await story.follow(backend, cast, told.append)
    assert [line.split(":")[0] for line in told] == ["bookings", "payments", "bookings", "bookings"]


async def test_a_request_repeated_after_a_kill_is_the_same_booking(running: Deployment, backend: Backend, cast: Scene) -> None:
    request = booking(cast.places[1], day(40), time(12), 1)
    first = (await backend.call("bookings.CreateBooking", request, cast.admin)).booking
    await running.kill("bookings")
    second = (await backend.call("bookings.CreateBooking", request, cast.admin)).booking
    assert second == first


async def test_requests_in_flight_at_a_kill_have_one_effect_each(running: Deployment, backend: Backend, cast: Scene) -> None:
    scene = await own_station(backend, cast, "In flight")
    requests = [booking(scene.main, day(50 + n), time(hour), n) for n in range(10) for hour in (0, 6, 12, 18)]
    tasks = [asyncio.create_task(backend.call("bookings.CreateBooking", request, cast.admin)) for request in requests]
    await eventually(lambda: sum(task.done() for task in tasks) >= 5)
    await running.kill("bookings")
    answers = [answer.booking for answer in await asyncio.gather(*tasks)]
    again = [(await backend.call("bookings.CreateBooking", request, cast.admin)).booking for request in requests]
    assert [b.booking_id for b in again] == [b.booking_id for b in answers]
    assert sorted(await listing.whole(backend, cast.admin, scene.main.station_id)) == sorted(b.booking_id for b in answers)
    assert len({b.booking_id for b in answers}) == len(requests)


async def test_under_load_each_service_is_killed_and_nothing_is_lost(running: Deployment, backend: Backend, cast: Scene) -> None:
    agent, paid, made = cast.tokens["agent"], [], []

    async def caller(requests: list[bookings_pb2.CreateBookingRequest]) -> None:
        for request in requests:
            answer = (await backend.call("bookings.CreateBooking", request, agent)).booking
            made.append(answer)
            if len(made) % PAID_EACH == 0:
                await backend.call("payments.CreatePayment", deposit(answer), agent)
                paid.append(answer.booking_id)

    requests = await load.wanted(backend, cast, LOAD)
    callers = [asyncio.create_task(caller(requests[n::8])) for n in range(8)]
    for share, service in enumerate(("payments", "bookings", "identity"), start=1):
        await eventually(lambda share=share: len(made) >= share * LOAD // 5)  # type: ignore[misc]  # bound here
        await running.kill(service)
    await asyncio.gather(*callers)

    listed = await listing.whole(backend, agent, cast.main.station_id)
    assert set(listed) >= {b.booking_id for b in made}
    assert len(listed) == len(set(listed))
    assert len(paid) >= LOAD // PAID_EACH - 8

    async def confirmed() -> bool:
        states = [await state_of(backend, agent, cast.main.station_id, booking_id) for booking_id in paid]
        return all(state == bookings_pb2.BOOKING_STATE_CONFIRMED for state in states)

    await eventually(confirmed)


async def test_the_list_resumes_where_a_stream_broke(backend: Backend, cast: Scene) -> None:
    viewer, station = cast.tokens["viewer"], cast.main.station_id
    assert await listing.broken(backend, viewer, station) == await listing.whole(backend, viewer, station)
