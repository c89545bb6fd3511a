"""The processes, wherever they run: one booking across all three; killed and started again."""

import asyncio
from datetime import time

from demo import listing, load, story
from demo.calls import Backend, new_id
from demo.scene import Scene, booking, day
from teppan.bookings.v1 import bookings_pb2
from teppan.payments.v1 import payments_pb2

from tests.deployed import Deployment, eventually

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
    place = cast.places[2]
    requests = [booking(place, day(50 + n), time(hour), n) for n in range(10) for hour in load.DEFAULT_HOURS]
    tasks = [asyncio.create_task(backend.call("bookings.CreateBooking", request, cast.admin)) for request in requests]
    await eventually(lambda: sum(task.done() for task in tasks) >= 5)
    await running.kill("bookings")
    answers = [answer.booking for answer in await asyncio.gather(*tasks)]
    again = [(await backend.call("bookings.CreateBooking", request, cast.admin)).booking for request in requests]
    assert [b.booking_id for b in again] == [b.booking_id for b in answers]
    listed = await listing.whole(backend, cast.admin, place.station_id)
    assert len({b.booking_id for b in answers}) == len(requests)
    assert set(listed) >= {b.booking_id for b in answers}
    assert len(listed) == len(set(listed))


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


# ----------------------------------------------------------------------------------------------------------------------


def deposit(made: bookings_pb2.Booking) -> payments_pb2.CreatePaymentRequest:
    """The deposit of a booking, in cash."""
    return payments_pb2.CreatePaymentRequest(
        request_id=new_id(),
        station_id=made.station_id,
        booking_id=made.booking_id,
        amount_minor=made.deposit_minor,
        kind=payments_pb2.PAYMENT_KIND_DEPOSIT,
        method=payments_pb2.PAYMENT_METHOD_CASH,
        currency_code=made.currency_code,
    )


async def state_of(backend: Backend, token: str, station_id: str, booking_id: str) -> int:
    request = bookings_pb2.GetBookingRequest(station_id=station_id, booking_id=booking_id)
    return int((await backend.call("bookings.GetBooking", request, token)).booking.state)
