"""What a login gave is used as long as it is good, and a login is repeated with regard for the account's lock."""

import asyncio
import math
import signal
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.bookings.v1 import bookings_pb2_grpc
from teppan.client import aio, login, refusal, sessions
from teppan.client import channel as grpc_channel
from teppan.client.attempts import Attempts, unary
from teppan.client.refusals import CallFailed, Refusal
from teppan.client.sessions import LOGIN, LOGIN_SECONDS, REFUSED_PAUSE_SECONDS, REPLACED_PAUSE_SECONDS, Session, lifetime_seconds

from tests.unit.client.drivers import Aio, Driver, failure
from tests.unit.client.fakes import WAIT_SECONDS, Clock, Fake, fail, jwt

GET = pb.GetBookingRequest()
REFUSED = fail(StatusCode.UNAUTHENTICATED, "LOGIN_REFUSED")
DOWN = CallFailed(StatusCode.UNAVAILABLE, "down")


def source_of(client: Driver, fake: Fake) -> Any:
    return client.api.Login(client.channel(fake.address), email="ann@example.com", password="right")  # noqa: S106  # of a fake


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(login, "time", made)
    monkeypatch.setattr(aio.login, "time", made)
    return made


async def test_a_refused_login_is_asked_for_again_though_the_program_never_stops_calling(
    client: Driver, fake: Fake, clock: Clock
) -> None:
    source = source_of(client, fake)
    fake.plan("Login", REFUSED)
    for _ in range(10):  # every minute
        assert refusal(await failure(client.get(source))).reason == "LOGIN_REFUSED"
        clock.now += REFUSED_PAUSE_SECONDS / 10
    assert await client.get(source) == jwt(1)
    assert len(fake.calls("Login")) == 2


async def test_while_a_renewal_is_refused_the_old_token_is_used_to_its_end(client: Driver, fake: Fake, clock: Clock) -> None:
    source = source_of(client, fake)
    first = await client.get(source)
    clock.now += 890
    fake.plan("Login", REFUSED)
    assert [await client.get(source), await client.get(source)] == [first, first]
    clock.now += 9
    assert await client.get(source) == first
    clock.now += 1
    assert refusal(await failure(client.get(source))).reason == "LOGIN_REFUSED"
    assert len(fake.calls("Login")) == 2


async def test_every_caller_gets_a_refusal_of_its_own(client: Driver, fake: Fake) -> None:
    source = source_of(client, fake)
    fake.plan("Login", REFUSED)
    raised = [await failure(client.get(source)) for _ in range(30)]
    assert len({id(error) for error in raised}) == len(raised)
    assert all(refusal(error) == refusal(raised[0]) for error in raised)
    assert refusal(raised[-1]).metadata == {"call_id": "c1"}
    assert max(len(traceback.extract_tb(error.__traceback__)) for error in raised) < 30


async def test_a_login_whose_answers_are_lost_is_sent_three_times_at_most(client: Driver, fake: Fake) -> None:
    fake.plan("Login", *[fail(StatusCode.UNAVAILABLE)] * 10)
    error = await failure(client.get(source_of(client, fake)))
    assert error.code() is StatusCode.UNAVAILABLE
    assert len(fake.calls("Login")) == 3


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_login_waits_longer_for_an_identity_that_is_not_there(
    client: Driver, fake: Fake, replicas: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause, pauses = Attempts.pause, []

    def noted(attempts: Attempts, failure: Refusal, now: float) -> float | None:
        if attempts.method is LOGIN:
            pauses.append(failure)
        return pause(attempts, failure, now)

    monkeypatch.setattr(Attempts, "pause", noted)
    fake.stop()
    channel = client.channel(*[fake.address] * replicas)
    asking = asyncio.create_task(client.get(client.api.Login(channel, email="ann@example.com", password="right")))  # noqa: S106  # of a fake
    async with asyncio.timeout(30):
        while not pauses and not asking.done():
            await asyncio.sleep(0.01)
    with Fake(port=fake.port):
        assert await asking == jwt(1)


async def test_a_login_is_sent_again_only_when_identity_answers(client: Driver, fake: Fake) -> None:
    fake.plan("Login", fail(StatusCode.UNAVAILABLE))
    fake.plan("GetKeys", *[fail(StatusCode.UNAVAILABLE, "PEER_UNAVAILABLE", 0.01)] * 5)  # as a proxy does before a service
    assert await client.get(source_of(client, fake)) == jwt(1)
    assert [seen.method for seen in fake.seen] == ["Login", *["GetKeys"] * 6, "Login"]
    assert all(seen.seconds_left is not None and seen.seconds_left < LOGIN_SECONDS + 1 for seen in fake.seen)


def test_a_login_that_no_password_was_looked_at_in_does_not_count() -> None:
    busy = Refusal(code="RESOURCE_EXHAUSTED", reason="LOGIN_BUSY", retry_seconds=1)
    lost = Refusal(code="UNAVAILABLE", message="Socket closed")
    attempts, ends = unary(LOGIN, None, 60, 0), []
    for each in (busy, lost, busy, busy, lost, busy, lost):
        attempts.sent += 1
        ends.append(attempts.pause(each, 0) is None)
    assert ends == [False] * 6 + [True]


def raw(client: Driver, fake: Fake) -> Any:
    """A channel that is not of this client."""
    client.channels.append((grpc.aio if isinstance(client, Aio) else grpc).insecure_channel(fake.address))
    return client.channels[-1]


async def test_a_login_needs_no_channel_of_this_client(client: Driver, fake: Fake) -> None:
    fake.plan("Login", fail(StatusCode.UNAVAILABLE))
    source = client.api.Login(raw(client, fake), email="ann@example.com", password="right")  # noqa: S106  # of a fake
    assert await client.get(source) == jwt(1)
    assert [seen.method for seen in fake.seen] == ["Login", "GetKeys", "Login"]
    assert all(seen.seconds_left is not None and seen.seconds_left < LOGIN_SECONDS + 1 for seen in fake.seen)


@pytest.mark.parametrize("foreign", [False, True])
async def test_a_login_that_cannot_be_made_says_why(client: Driver, fake: Fake, *, foreign: bool) -> None:
    channel = raw(client, fake) if foreign else client.channel(fake.address)
    source = client.api.Login(channel, email="ann@example.com", password="right")  # noqa: S106  # of a fake
    await client.close()
    for _ in range(2):
        error = await failure(client.get(source))
        assert "closed" in (error.details() or "")


async def test_a_login_without_a_token_is_none(client: Driver, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(client, fake)
    with monkeypatch.context() as patch:
        patch.setattr(fake, "login", lambda: "")
        assert "without a token" in ((await failure(client.get(source))).details() or "")
    assert await client.get(source) == jwt(1)


async def test_who_has_more_time_than_a_login_gets_the_next_one(
    client: Driver, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "PATIENCE_SECONDS", 0.5)
    fake.stop()
    source = source_of(client, fake)
    early = asyncio.create_task(client.get(source))
    assert (await failure(client.get(source, timeout=0.7))).code() is StatusCode.UNAVAILABLE  # and not that it took too long
    with Fake(port=fake.port):
        assert await early == jwt(1)


class Interrupted(Exception):
    """Raised by a signal."""


class Awaited(threading.Event):
    """Says when somebody begins to wait; `sys._current_frames` does so too, and can deadlock with the garbage collector."""

    def __init__(self) -> None:
        super().__init__()
        self.waiters = threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        self.waiters.release()
        return super().wait(timeout)


def interrupted(thread: int, done: Awaited, heard: threading.Event) -> None:
    """Signals come once that thread, the second one, waits for a login, until it hears one.

    One that comes after Python has looked for signals, and before the thread sleeps, wakes nobody.
    """
    if all(done.waiters.acquire(timeout=WAIT_SECONDS) for _ in range(2)):
        while not heard.wait(0.01):
            signal.pthread_kill(thread, signal.SIGUSR1)


def test_a_caller_who_is_interrupted_takes_the_login_from_nobody(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, heard, done = threading.Event(), threading.Event(), Awaited()
    fake.plan("Login", lambda _: gate.wait(WAIT_SECONDS))
    monkeypatch.setattr(login, "Asking", partial(login.Asking, done=done))

    def interrupt(*_: object) -> None:
        if not heard.is_set():
            heard.set()
            raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with grpc_channel(fake.address) as channel, ThreadPoolExecutor() as pool:
            source = login.Login(channel, email="ann@example.com", password="right")  # noqa: S106  # of a fake
            waiting = pool.submit(source.get, WAIT_SECONDS)
            assert fake.entered.acquire(timeout=WAIT_SECONDS)  # it is the other one who began it
            pool.submit(interrupted, threading.get_ident(), done, heard)
            with pytest.raises(Interrupted):
                source.get(WAIT_SECONDS)
            gate.set()
            assert waiting.result(WAIT_SECONDS) == source.get(WAIT_SECONDS) == jwt(1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(fake.calls("Login")) == 1


def test_without_a_thread_the_old_token_goes_on(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with grpc_channel(fake.address) as channel:
        source = login.Login(channel, email="ann@example.com", password="right")  # noqa: S106  # of a fake
        first = source.get(WAIT_SECONDS)
        source._session.renew_time = 0
        monkeypatch.setattr(threading.Thread, "start", start)
        assert source.get(WAIT_SECONDS) == first
        source._session.end_time = 0
        with pytest.raises(CallFailed, match="can't start new thread"):
            source.get(WAIT_SECONDS)
        monkeypatch.undo()
        assert source.get(WAIT_SECONDS) == jwt(2)


async def test_a_service_that_refuses_every_token_costs_a_login_in_thirty_seconds(client: Driver, fake: Fake, clock: Clock) -> None:
    stub = bookings_pb2_grpc.BookingsServiceStub(client.channel(fake.address, token=source_of(client, fake)))
    fake.plan("GetBooking", *[fail(StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")] * 100)
    for _ in range(20):
        assert refusal(await failure(client.call(stub.GetBooking, GET))).reason == "TOKEN_INVALID"
    assert fake.logins == 2
    assert len(fake.calls("GetBooking")) == 21
    clock.now += REPLACED_PAUSE_SECONDS
    await failure(client.call(stub.GetBooking, GET))
    assert fake.logins == 3


def test_a_lifetime_is_what_the_token_says_whatever_the_clock_says() -> None:
    assert lifetime_seconds(jwt(1, 900)) == 900
    for opaque in ("", "opaque", "a.b.c", "e30.e30.x", "e30.W10.x", jwt(1, 10**400)):
        assert lifetime_seconds(opaque) == math.inf


def test_a_session_is_renewed_at_four_fifths_and_over_at_the_end() -> None:
    session = Session()
    assert (session.fresh(0), session.spare(0)) == ("", "")
    session.took(jwt(1, 1000), 50)
    at = {now: (bool(session.fresh(now)), bool(session.spare(now))) for now in (50, 849, 850, 1049, 1050)}
    assert at == {50: (True, True), 849: (True, True), 850: (False, True), 1049: (False, True), 1050: (False, False)}
    session.failed(DOWN, 850)
    assert (bool(session.fresh(854)), bool(session.fresh(855))) == (True, False)
    session.failed(DOWN, 1049)
    assert not session.fresh(1050)  # no failure makes it last longer


def test_a_session_drops_the_refused_token_and_no_newer_one() -> None:
    session = Session()
    session.took(jwt(2), 0)
    session.drop(jwt(1), 1)
    assert session.fresh(1) == jwt(2)
    session.drop(jwt(2), 1)
    assert (session.fresh(1), session.spare(1)) == ("", "")


def test_a_refused_login_is_asked_for_again_after_a_while() -> None:
    session, error = Session(), CallFailed(StatusCode.UNAUTHENTICATED, "wrong")
    session.failed(error, 0)
    with pytest.raises(CallFailed, match="wrong"):
        session.attempts(REFUSED_PAUSE_SECONDS - 1)
    assert session.attempts(REFUSED_PAUSE_SECONDS).timeout(REFUSED_PAUSE_SECONDS) == 10
    session.failed(error, REFUSED_PAUSE_SECONDS)
    session.took(jwt(1), REFUSED_PAUSE_SECONDS)
    assert session.attempts(REFUSED_PAUSE_SECONDS + 1)
