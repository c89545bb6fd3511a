"""What breaks around the services: callers are told so while it lasts, it mends by itself, and nothing is lost or doubled."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from demo.calls import STUBS, Backend, bearer, new_id
from demo.scene import Scene, booking, day
from teppan.bookings.v1 import bookings_pb2, customers_pb2
from teppan.client import refusal
from teppan.identity.v1 import stations_pb2, tokens_pb2
from teppan.payments.v1 import payments_pb2

from compose.stack import Composed, engine
from local.database import SERVICES
from tests.compose.inside import sql
from tests.deployed import eventually
from tests.traffic import deposit, new_station

DEADLINE_SECONDS = 10.0
RECOVERY_SECONDS = 10.0
IN_A_ROW = 20
STALE_SECONDS = 45.0
"""A feed that was not heard of for 30 s is stale; and some to notice."""


@dataclass(frozen=True)
class Told:
    """What a caller without any retry was told."""

    method: str
    code: str
    reason: str
    retry: bool
    """Whether it was told when to try again."""


Bare = Mapping[str, Any]
"""Stubs by name, on channels as they come: nothing is repeated."""


@pytest.fixture
async def bare(known: Mapping[str, str]) -> AsyncIterator[Bare]:
    """A backend without `teppan.client`."""
    credentials = grpc.ssl_channel_credentials(await asyncio.to_thread(Path(known["ca"]).read_bytes))
    async with AsyncExitStack() as closing:
        channels = {s: await closing.enter_async_context(grpc.aio.secure_channel(known[s], credentials)) for s in SERVICES}
        yield {name: stub(channels[service]) for name, (service, stub) in STUBS.items()}


async def told(bare: Bare, name: str, request: Any, token: str) -> Told:
    """Calls once."""
    stub, _, method = name.partition(".")
    try:
        await getattr(bare[stub], method)(request, timeout=DEADLINE_SECONDS, metadata=bearer(token))
    except grpc.aio.AioRpcError as error:
        found = refusal(error)
        return Told(name, found.code, found.reason, retry=found.retry_seconds is not None)
    return Told(name, "OK", "", retry=False)


def typed(answers: Sequence[Told], *reasons: str) -> None:
    """Every failure is UNAVAILABLE, for one of these reasons, and says when to try again."""
    wrong = [a for a in answers if a.code != "OK" and not (a.code == "UNAVAILABLE" and a.reason in reasons and a.retry)]
    assert not wrong, wrong


async def recovered(*calls: Callable[[], Awaitable[Told]]) -> None:
    """Returns when all of it works again, at every replica, which take turns. Fails where that takes too long."""
    seen: list[tuple[float, Told]] = []
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(RECOVERY_SECONDS):
            for call in calls:
                in_a_row = 0
                while in_a_row < IN_A_ROW:
                    seen.append((round(loop.time() - started, 2), await call()))
                    in_a_row = in_a_row + 1 if seen[-1][1].code == "OK" else 0
    except TimeoutError as late:
        raise AssertionError(f"not recovered within {RECOVERY_SECONDS:g} s; answers by when they were asked for: {seen}") from late


APART = (("bookings", "identity"), ("identity", "bookings"), ("identity", "payments"))
"""The networks that each has to leave so that bookings and identity cannot reach each other, and all others can."""


@asynccontextmanager
async def apart(stack: Composed) -> AsyncIterator[None]:
    """Nothing of bookings reaches identity, or the other way round."""
    left = [
        (service, container, f"{stack.project}_{network}") for service, network in APART for container in stack.containers(service)
    ]
    for _, container, network in left:
        await asyncio.to_thread(engine, "network", "disconnect", network, container)
    try:
        yield
    finally:
        for service, container, network in left:
            await asyncio.to_thread(engine, "network", "connect", "--alias", service, network, container)


async def test_bookings_that_cannot_reach_identity_serves_what_it_knows_and_says_what_it_cannot(
    composed: Composed, backend: Backend, bare: Bare, cast: Scene
) -> None:
    known = (booking(cast.places[1], day(70 + n // 4), time(12 + n % 4 * 3), n) for n in itertools.count())

    async def make_known() -> Told:
        return await told(bare, "bookings.CreateBooking", next(known), cast.admin)

    async with apart(composed):
        assert (await make_known()).code == "OK", "a known station needs nobody"
        station = await new_station(backend, cast.admin, "S")
        unknown = customers_pb2.CreateCustomerRequest(request_id=new_id(), station_id=station, name="Bo", email="bo@example.com")

        async def make_unknown() -> Told:
            return await told(bare, "customers.CreateCustomer", unknown, cast.admin)

        answers = [await make_unknown() for _ in range(5)]
        typed(answers, "PEER_UNAVAILABLE")
        assert all(answer.code == "UNAVAILABLE" for answer in answers)
        async with asyncio.timeout(STALE_SECONDS):  # it does not decide for ever on what it last heard
            while (answer := await make_known()).code == "OK":
                await asyncio.sleep(1)
        assert answer == Told("bookings.CreateBooking", "UNAVAILABLE", "FEED_STALE", retry=True)
    await recovered(make_known, make_unknown)
    assert sql(composed, f"SELECT count(*) FROM bookings.customers WHERE station_id = '{station}'") == ["1"]


async def test_a_database_that_froze_is_told_and_everything_goes_on_when_it_thaws(
    composed: Composed, backend: Backend, bare: Bare, cast: Scene
) -> None:
    place, loop = cast.places[2], asyncio.get_running_loop()
    creates = [booking(place, day(80 + n // 4), time(12 + n % 4 * 3), n) for n in range(40)]
    made = (await backend.call("bookings.CreateBooking", creates[0], cast.admin)).booking
    get = bookings_pb2.GetBookingRequest(station_id=made.station_id, booking_id=made.booking_id)
    password = composed.password_file.read_text()
    calls: list[Callable[[], Awaitable[Told]]] = [
        lambda: told(bare, "bookings.CreateBooking", random.choice(creates), cast.admin),
        lambda: told(bare, "bookings.GetBooking", get, cast.admin),
        lambda: told(bare, "payments.CreatePayment", little(made), cast.admin),
        lambda: told(bare, "stations.GetStation", stations_pb2.GetStationRequest(station_id=place.station_id), cast.admin),
        lambda: told(bare, "tokens.Login", tokens_pb2.LoginRequest(email="admin@teppan.example", password=password), ""),
    ]
    answers: list[Told] = []
    [postgres] = composed.containers("postgres")

    async def caller(call: Callable[[], Awaitable[Told]]) -> None:
        while loop.time() < until:
            started = loop.time()
            answers.append(await call())
            assert loop.time() - started < DEADLINE_SECONDS + 1
            await asyncio.sleep(0.2)

    until = loop.time() + 18
    callers = [asyncio.create_task(caller(call)) for call in calls for _ in range(3)]
    await eventually(lambda: len(answers) > 20)
    await asyncio.to_thread(engine, "pause", postgres)
    try:
        await asyncio.gather(*callers)
    finally:
        await asyncio.to_thread(engine, "unpause", postgres)
    typed(answers, "DATABASE_UNAVAILABLE", "FEED_STALE", "PEER_UNAVAILABLE")
    assert len([a for a in answers if a.code == "UNAVAILABLE"]) > 20
    await recovered(*calls)
    again = [(await backend.call("bookings.CreateBooking", request, cast.admin)).booking for request in creates]
    assert len({each.booking_id for each in again}) == len(creates)
    ids = ", ".join(f"'{request.request_id}'" for request in creates)
    assert sql(composed, f"SELECT count(*) FROM bookings.requests WHERE request_id IN ({ids})") == [str(len(creates))]
    asked = f"SELECT count(*) FROM bookings.bookings WHERE station_id = '{place.station_id}' AND start_time >= '{day(80)}' AND start_time < '{day(90)}'"
    assert sql(composed, asked) == [str(len(creates))]


async def test_a_killed_replica_is_hardly_noticed_and_two_are_told(
    composed: Composed, backend: Backend, bare: Bare, cast: Scene
) -> None:
    first, second = composed.containers("payments")
    made = (await backend.call("bookings.CreateBooking", booking(cast.main, day(90), time(10), 1), cast.admin)).booking
    payments: list[payments_pb2.CreatePaymentRequest] = []

    async def pay() -> Told:
        request = little(made)
        payments.append(request)
        return await told(bare, "payments.CreatePayment", request, cast.admin)

    async def kill_and_pay(container: str) -> list[Told]:
        paying = [asyncio.create_task(pay()) for _ in range(30)]
        await asyncio.to_thread(engine, "kill", container)
        return [*await asyncio.gather(*paying), *[await pay() for _ in range(20)]]

    answers = await kill_and_pay(first)
    typed(answers, "PEER_UNAVAILABLE")
    assert all(answer.code == "OK" for answer in answers[-20:]), "the other one takes all"
    answers = await kill_and_pay(second)
    typed(answers, "PEER_UNAVAILABLE")
    assert all(answer.code == "UNAVAILABLE" for answer in answers[-20:])
    await asyncio.to_thread(engine, "start", first, second)
    await recovered(pay)
    done = [(await backend.call("payments.CreatePayment", request, cast.admin)).payment.payment_id for request in payments]
    assert len(set(done)) == len(payments)
    paid = f"SELECT count(*), sum(amount_minor) FROM payments.payments WHERE booking_id = '{made.booking_id}'"
    assert sql(composed, paid) == [f"{len(payments)}|{len(payments)}"]


def little(made: bookings_pb2.Booking) -> payments_pb2.CreatePaymentRequest:
    """A payment that can be made many times."""
    request = deposit(made)
    request.amount_minor = 1
    return request
