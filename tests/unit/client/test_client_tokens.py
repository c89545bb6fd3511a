"""A channel's token goes with every call that needs one, is good, and is asked for as rarely as that allows."""

import asyncio
import threading
import traceback
from typing import Any

import pytest
from grpc import StatusCode
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.bookings.v1 import bookings_pb2_grpc
from teppan.client import refusal
from teppan.identity.v1 import tokens_pb2, tokens_pb2_grpc

from tests.unit.client.drivers import Driver, failure
from tests.unit.client.fakes import WAIT_SECONDS, Break, Fake, fail, jwt

GET, LIST = pb.GetBookingRequest(), pb.ListBookingsRequest()
REFUSED = fail(StatusCode.UNAUTHENTICATED, "LOGIN_REFUSED")
AT_ONCE = 12


class Given:
    """A source of another make, for both clients: a token that may be awaited."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get(self, timeout: float) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # a thread of the sync client
            return self._token
        return asyncio.sleep(0, self._token)

    def refuse(self, token: str) -> None:
        raise AssertionError(token)


def login(client: Driver, fake: Fake) -> Any:
    return client.api.Login(client.channel(fake.address), email="ann@example.com", password="right")  # noqa: S106  # of a fake


def bookings(client: Driver, fake: Fake, token: Any) -> Any:
    return bookings_pb2_grpc.BookingsServiceStub(client.channel(fake.address, token=token))


def tokens(fake: Fake, method: str = "GetBooking") -> list[Any]:
    return [seen.metadata.get("authorization") for seen in fake.calls(method)]


async def test_a_token_that_is_given_goes_with_calls_and_streams(client: Driver, fake: Fake) -> None:
    stub = bookings(client, fake, "mine")
    await client.call(stub.GetBooking, GET)
    await client.stream(stub.ListBookings, LIST)
    assert [seen.metadata.get("authorization") for seen in fake.seen] == ["Bearer mine"] * 2


async def test_white_space_around_a_token_is_left_out(client: Driver, fake: Fake) -> None:
    for token in ("mine\n", Given(" mine\r\n")):
        await client.call(bookings(client, fake, token).GetBooking, GET)
    assert tokens(fake) == ["Bearer mine"] * 2


@pytest.mark.parametrize("token", ["SECRET\nx", "SECRET\0", "SECR\u00c9T SECRET", "SECRET\x7f"])
async def test_a_token_that_no_call_can_carry_is_refused_and_not_shown(client: Driver, fake: Fake, token: str) -> None:
    with pytest.raises(ValueError, match="no call can carry") as caught:
        client.channel(fake.address, token=token)
    stub = bookings(client, fake, Given(token))
    own = ((("authorization", f"Bearer {token}"),), (("Authorization", "Bearer SECRET"),))
    errors = [
        await failure(client.call(stub.GetBooking, GET)), await failure(client.stream(stub.ListBookings, LIST)),
        *[await failure(client.call(stub.GetBooking, GET, metadata=each)) for each in own],
    ]  # fmt: skip
    assert "no call can carry" in (errors[0].details() or "")
    for error in (caught.value, *errors):
        assert "SECRET" not in "".join(traceback.format_exception(error)) + repr(error)
    assert not fake.seen


async def test_a_token_is_not_shown_where_other_metadata_are_wrong(client: Driver, fake: Fake) -> None:
    stub = bookings(client, fake, "SECRET")
    error = await failure(client.call(stub.GetBooking, GET, metadata=(("x-own", "a\n"),)))
    assert error.code() is StatusCode.INVALID_ARGUMENT
    assert "x-own" in (error.details() or "")
    assert "SECRET" not in "".join(traceback.format_exception(error))
    await client.call(stub.GetBooking, GET, metadata=(("x-own-bin", b"a\n\xff"),))
    assert fake.seen[-1].metadata["x-own-bin"] == b"a\n\xff"


@pytest.mark.parametrize("token", ["", " \n"])
def test_an_empty_token_is_refused(client: Driver, token: str) -> None:
    with pytest.raises(ValueError, match="the token is empty"):
        client.channel("127.0.0.1:1", token=token)


async def test_no_token_goes_where_none_is_needed(client: Driver, fake: Fake) -> None:
    stub = tokens_pb2_grpc.TokensServiceStub(client.channel(fake.address, token=login(client, fake)))
    await client.call(stub.GetKeys, tokens_pb2.GetKeysRequest())
    assert tokens(fake, "GetKeys") == [None]
    assert not fake.calls("Login")
    await client.call(bookings_pb2_grpc.BookingsServiceStub(client.channel(fake.address)).GetBooking, GET)
    assert tokens(fake) == [None]


async def test_a_login_is_made_when_it_is_needed_and_kept(client: Driver, fake: Fake) -> None:
    stub = bookings(client, fake, login(client, fake))
    assert not fake.seen
    for _ in range(3):
        await client.call(stub.GetBooking, GET)
    await client.stream(stub.ListBookings, LIST)
    assert tokens(fake) == [f"Bearer {jwt(1)}"] * 3
    assert tokens(fake, "ListBookings") == [f"Bearer {jwt(1)}"]
    (asked,) = fake.calls("Login")
    assert (asked.request.email, asked.request.password) == ("ann@example.com", "right")


async def test_of_many_calls_at_once_one_logs_in(client: Driver, fake: Fake) -> None:
    stub = bookings(client, fake, login(client, fake))
    await asyncio.gather(*(client.call(stub.GetBooking, GET) for _ in range(AT_ONCE)))
    assert fake.logins == 1
    fake.refused.add(jwt(1))
    await asyncio.gather(*(client.call(stub.GetBooking, GET) for _ in range(AT_ONCE)))
    assert fake.logins == 2
    assert tokens(fake)[-1] == f"Bearer {jwt(2)}"


@pytest.mark.parametrize("reason", ["TOKEN_EXPIRED", "TOKEN_INVALID"])
@pytest.mark.parametrize("method", ["GetBooking", "CreateBooking", "ListBookings"])
async def test_a_refused_token_is_replaced_and_the_call_made_once_more(
    client: Driver, fake: Fake, reason: str, method: str
) -> None:
    stub = bookings(client, fake, login(client, fake))
    act = fail(StatusCode.UNAUTHENTICATED, reason)
    fake.plan(method, Break(0, act) if method == "ListBookings" else act)
    if method == "ListBookings":
        assert await client.stream(stub.ListBookings, LIST)
    else:
        await client.call(getattr(stub, method), GET if method == "GetBooking" else pb.CreateBookingRequest())
    assert tokens(fake, method) == [f"Bearer {jwt(1)}", f"Bearer {jwt(2)}"]


async def test_a_call_whose_new_token_is_refused_too_is_not_made_a_third_time(client: Driver, fake: Fake) -> None:
    fake.plan("GetBooking", *[fail(StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")] * 3)
    error = await failure(client.call(bookings(client, fake, login(client, fake)).GetBooking, GET))
    assert refusal(error).reason == "TOKEN_EXPIRED"
    assert len(fake.calls("GetBooking")) == 2


async def test_a_token_that_is_given_cannot_be_replaced(client: Driver, fake: Fake) -> None:
    fake.refused.add("mine")
    assert refusal(await failure(client.call(bookings(client, fake, "mine").GetBooking, GET))).reason == "TOKEN_EXPIRED"
    assert len(fake.seen) == 1


async def test_a_call_keeps_an_authorization_of_its_own(client: Driver, fake: Fake) -> None:
    stub, own = bookings(client, fake, login(client, fake)), (("authorization", "Bearer own"), ("x-other", "1"))
    await client.call(stub.GetBooking, GET, metadata=own)
    fake.refused.add("own")
    assert refusal(await failure(client.call(stub.GetBooking, GET, metadata=own))).reason == "TOKEN_EXPIRED"
    assert tokens(fake) == ["Bearer own"] * 2
    assert fake.seen[0].metadata["x-other"] == "1"
    assert not fake.calls("Login")
    await client.call(stub.GetBooking, GET, metadata=(("x-other", "1"),))
    assert (tokens(fake)[-1], fake.seen[-1].metadata["x-other"]) == (f"Bearer {jwt(1)}", "1")


async def test_a_refused_login_fails_the_call_and_is_not_tried_again_soon(client: Driver, fake: Fake) -> None:
    fake.plan("Login", REFUSED, REFUSED)
    stub = bookings(client, fake, login(client, fake))
    for _ in range(3):
        assert refusal(await failure(client.call(stub.GetBooking, GET))).reason == "LOGIN_REFUSED"
    assert refusal(await failure(client.stream(stub.ListBookings, LIST))).reason == "LOGIN_REFUSED"
    assert [seen.method for seen in fake.seen] == ["Login"]


async def test_a_login_that_got_no_answer_is_tried_again(client: Driver, fake: Fake) -> None:
    busy = fail(StatusCode.RESOURCE_EXHAUSTED, "LOGIN_BUSY", 0.01)
    fake.plan("Login", fail(StatusCode.UNAVAILABLE), busy, fail(StatusCode.CANCELLED))
    await client.call(bookings(client, fake, login(client, fake)).GetBooking, GET)
    assert len(fake.calls("Login")) == 4


async def test_a_login_that_takes_longer_than_its_callers_have_is_there_for_the_next(client: Driver, fake: Fake) -> None:
    source, gate = login(client, fake), threading.Event()
    fake.plan("Login", lambda _: gate.wait(WAIT_SECONDS))
    stub = bookings(client, fake, source)
    for _ in range(2):
        late = await failure(client.call(stub.GetBooking, GET, timeout=0.1))
        assert late.code() is StatusCode.DEADLINE_EXCEEDED
        assert "no token" in (late.details() or "")
    waiting = asyncio.create_task(client.call(stub.GetBooking, GET))
    gate.set()
    await waiting
    assert [seen.method for seen in fake.seen] == ["Login", "GetBooking"]


async def test_a_token_that_is_about_to_expire_is_renewed_before(client: Driver, fake: Fake) -> None:
    source = login(client, fake)
    fake.lifetime = 0
    assert [await client.get(source), await client.get(source)] == [jwt(1, 0), jwt(2, 0)]


async def test_where_identity_is_down_the_old_token_goes_on_as_long_as_it_holds(client: Driver, fake: Fake) -> None:
    source = login(client, fake)
    first = await client.get(source)
    source._session.renew_time = 0  # as if most of its life were over
    fake.plan("Login", fail(StatusCode.UNAVAILABLE))
    assert await client.get(source) == first
    async with asyncio.timeout(WAIT_SECONDS):
        while not source._session.renew_time:
            await asyncio.sleep(0.01)
    assert [await client.get(source) for _ in range(3)] == [first] * 3
    assert len(fake.calls("Login")) == 2  # and not with every call
    source._session.end_time = 0
    assert await client.get(source) == jwt(2)


async def test_while_a_token_is_renewed_all_go_on_with_the_old_one(client: Driver, fake: Fake) -> None:
    source = login(client, fake)
    first = await client.get(source)
    source._session.renew_time = 0
    gate = threading.Event()
    fake.plan("Login", lambda _: gate.wait(WAIT_SECONDS))
    assert [await client.get(source, timeout=0.05) for _ in range(5)] == [first] * 5
    gate.set()
    async with asyncio.timeout(WAIT_SECONDS):
        while await client.get(source) == first:
            await asyncio.sleep(0.01)
    assert await client.get(source) == jwt(2)
    assert len(fake.calls("Login")) == 2


async def test_a_token_that_ends_while_its_renewal_fails_is_followed_by_a_login_with_patience(client: Driver, fake: Fake) -> None:
    source = login(client, fake)
    first = await client.get(source)
    source._session.renew_time = 0
    gate = threading.Event()

    def lost(context: Any) -> None:
        gate.wait(WAIT_SECONDS)
        fail(StatusCode.UNAVAILABLE)(context)

    fake.plan("Login", lost, fail(StatusCode.UNAVAILABLE))
    assert await client.get(source) == first
    source._session.end_time = 0
    waiting = asyncio.create_task(client.get(source))
    await asyncio.sleep(0)
    gate.set()
    assert await waiting == jwt(2)
    assert len(fake.calls("Login")) == 4
