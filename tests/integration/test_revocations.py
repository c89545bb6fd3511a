"""A disabled user's token in the three services: refused soon, by who was not there and by who was away, and never good again."""

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from teppan.bookings.v1 import bookings_pb2
from teppan.common.v1 import events_pb2, options_pb2
from teppan.identity.v1 import stations_pb2, tokens_pb2, users_pb2
from teppan.payments.v1 import payments_pb2

from local.database import SERVICES
from rpccommon.feed import EventsServicer
from rpccommon.revocations import TYPE
from tests.integration.people import PASSWORD, disabled, enrolled
from tests.integration.stage import Metadata, Teppan, choose_ports, eventually, new, refusal_of

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
PROMISED_SECONDS = 2.0
PEOPLE = 5
EACH = ["identity", "bookings", pytest.param("payments", marks=pytest.mark.long)]
"""Payments is wired as bookings is."""


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


def of(teppan: Teppan, person: users_pb2.User) -> Metadata:
    """Their token."""
    return teppan.bearer(subject=person.user_id, platform_role=options_pb2.PLATFORM_ROLE_SUPPORT)


async def joined(teppan: Teppan) -> users_pb2.User:
    """Somebody who may read everything."""
    return await enrolled(teppan, f"{uuid4().hex}@example.com", platform_role=options_pb2.PLATFORM_ROLE_SUPPORT)


async def answer_of(teppan: Teppan, service: str, who: Metadata) -> str:
    """What a service answers them: OK, or the reason why not."""
    try:
        if service == "identity":
            await teppan.stations.ListStations(stations_pb2.ListStationsRequest(page_size=1), metadata=who)
        elif service == "bookings":
            bookings = teppan.bookings.ListBookings(bookings_pb2.ListBookingsRequest(station_id=new()), metadata=who)
            assert [page async for page in bookings]
        else:
            payments = teppan.payments.ListPayments(payments_pb2.ListPaymentsRequest(station_id=new()), metadata=who)
            assert [page async for page in payments]
    except grpc.aio.AioRpcError as error:
        return refusal_of(error).reason or error.code().name
    return "OK"


async def answers(teppan: Teppan, who: Metadata, wanted: str, *, services: tuple[str, ...] = SERVICES) -> None:
    """Waits until all of the services answer them so."""

    async def asked() -> None:
        for service in services:
            assert await answer_of(teppan, service, who) == wanted, service

    await eventually(asked)


async def health_of(teppan: Teppan, service: str) -> Any:
    stub: Any = health_pb2_grpc.HealthStub(teppan.channels[service])
    return (await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)).status


@dataclass
class Held:
    """Holds back what identity says of users to those who follow it in memory."""

    free: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """Holds nothing back at first; taken before the services start."""
    made, original = Held(), EventsServicer.StreamEvents
    made.free.set()

    async def stream(servicer: EventsServicer, request: events_pb2.StreamEventsRequest, context: Any) -> AsyncGenerator[Any, None]:
        async with aclosing(original(servicer, request, context)) as messages:
            async for message in messages:
                if list(request.types) == [TYPE] and not made.free.is_set():
                    made.waiting.set()
                    await made.free.wait()
                yield message

    monkeypatch.setattr(EventsServicer, "StreamEvents", stream)
    return made


async def test_a_disabled_users_token_is_refused_in_every_service_within_two_seconds(
    teppan: Teppan, tell: Callable[[str], None]
) -> None:
    taken = []
    for _ in range(PEOPLE):
        person = await joined(teppan)
        token = of(teppan, person)
        await answers(teppan, token, "OK")
        await disabled(teppan, person.user_id)
        since = time.perf_counter()
        await answers(teppan, token, "TOKEN_INVALID")
        taken.append(time.perf_counter() - since)
    tell(f"disabled users' tokens were refused in all services after {', '.join(f'{each:.3f}' for each in sorted(taken))} s")
    assert statistics.median(taken) < PROMISED_SECONDS


async def test_a_token_stays_refused_when_its_user_is_enabled_and_a_new_login_is_good_everywhere(teppan: Teppan) -> None:
    person = await joined(teppan)
    old = of(teppan, person)
    await disabled(teppan, person.user_id)
    await answers(teppan, old, "TOKEN_INVALID")
    await teppan.users.EnableUser(users_pb2.EnableUserRequest(request_id=new(), user_id=person.user_id), metadata=teppan.admin)

    async def admitted() -> None:
        request = tokens_pb2.LoginRequest(email=person.email, password=PASSWORD)
        token = bearer((await teppan.tokens.Login(request)).access_token)
        for service in SERVICES:
            assert await answer_of(teppan, service, token) == "OK", service

    await eventually(admitted)
    for service in SERVICES:
        assert await answer_of(teppan, service, old) == "TOKEN_INVALID"


@pytest.fixture
async def refusing(own: Teppan) -> tuple[Teppan, Metadata]:
    """Services of the test's own, and the token of somebody who was disabled."""
    person = await joined(own)
    token = of(own, person)
    await disabled(own, person.user_id)
    await answers(own, token, "TOKEN_INVALID")
    return own, token


@pytest.mark.parametrize("service", EACH)
async def test_a_service_that_starts_afterwards_never_takes_the_token(refusing: tuple[Teppan, Metadata], service: str) -> None:
    own, token = refusing
    await own.stop(service)
    await own.start(service)
    heard = set()
    async with asyncio.timeout(20):
        while "TOKEN_INVALID" not in heard:
            heard.add(await answer_of(own, service, token))
    assert heard <= {"TOKEN_INVALID", "FEED_STALE", "PEER_UNAVAILABLE", "UNAVAILABLE"}
    await answers(own, own.admin, "OK", services=(service,))


async def test_who_was_without_identity_when_it_happened_refuses_the_token_once_identity_is_back(own: Teppan) -> None:
    person = await joined(own)
    token, ports = of(own, person), own.ports
    await answers(own, token, "OK")
    await own.stop("identity")
    own.ports = {**ports, "identity": choose_ports()["identity"]}  # where bookings and payments do not look for it
    await own.channels.pop("identity").close()
    await own.start("identity")
    await eventually(lambda: disabled(own, person.user_id))
    await answers(own, token, "TOKEN_INVALID", services=("identity",))
    await answers(own, token, "OK", services=("bookings", "payments"))
    await own.stop("identity")
    own.ports = ports
    await own.channels.pop("identity").close()
    await own.start("identity")
    await answers(own, token, "TOKEN_INVALID")


@pytest.mark.parametrize("service", EACH)
async def test_a_process_does_not_serve_before_it_knows_whose_tokens_are_revoked(held: Held, own: Teppan, service: str) -> None:
    await answers(own, own.admin, "OK")
    await own.stop(service)
    held.free.clear()
    held.waiting.clear()
    await own.start(service)
    await held.waiting.wait()
    began = time.monotonic()
    while time.monotonic() - began < 2.5:  # it looks each second
        assert await health_of(own, service) == NOT_SERVING
        await asyncio.sleep(0.1)
    await answers(own, own.admin, "FEED_STALE", services=(service,))
    held.free.set()

    async def serving() -> None:
        assert await health_of(own, service) == SERVING

    await eventually(serving)
    await answers(own, own.admin, "OK", services=(service,))


async def test_who_hears_nothing_of_identity_for_too_long_answers_no_user_until_it_is_back(
    own: Teppan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpccommon.revocations.STALE_SECONDS", 4.0)  # what a process's database knows is good for 30 s
    others = ("bookings", "payments")
    await answers(own, own.admin, "OK")
    await own.stop("identity")
    for service in others:
        assert await answer_of(own, service, own.admin) == "OK"
    await answers(own, own.admin, "FEED_STALE", services=others)
    assert [await health_of(own, service) for service in others] == [SERVING, SERVING]
    await own.start("identity")
    await answers(own, own.admin, "OK")
