"""What a channel adds to every call: a deadline, a request_id, and further attempts where they may help."""

import math
from dataclasses import replace
from typing import Any

import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.bookings.v1 import bookings_pb2_grpc, slots_pb2, slots_pb2_grpc
from teppan.client import aio, calls, refusal
from teppan.client.methods import method_of
from teppan.identity.v1 import tokens_pb2, tokens_pb2_grpc

from tests.unit.client.drivers import Driver, failure
from tests.unit.client.fakes import Break, Fake, Seen, fail, hold

GET, CREATE = pb.GetBookingRequest(booking_id="b1"), pb.CreateBookingRequest(requests="a window")
LIST = pb.ListBookingsRequest()
SEARCH = slots_pb2.SearchAvailabilityRequest()
AGAIN = [
    fail(StatusCode.UNAVAILABLE),
    fail(StatusCode.UNAVAILABLE, "SERVER_STOPPING", 0.05),
    fail(StatusCode.ABORTED, "LOCK_TIMEOUT", 0.05),
    fail(StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", 0.05),
    fail(StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    fail(StatusCode.CANCELLED),
    fail(StatusCode.INTERNAL),
    fail(StatusCode.UNKNOWN),
]
NEVER = [
    (StatusCode.INTERNAL, "BUG"), (StatusCode.ABORTED, "ETAG_STALE"), (StatusCode.RESOURCE_EXHAUSTED, ""),
    (StatusCode.NOT_FOUND, "BOOKING_NOT_FOUND"), (StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
    (StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"), (StatusCode.UNIMPLEMENTED, ""),
]  # fmt: skip
NO_PATIENCE = [math.inf, math.nan, 1e300, 0, -1]


def bookings(made: Any) -> Any:
    return bookings_pb2_grpc.BookingsServiceStub(made)


def within(seen: Seen, seconds: float) -> bool:
    """Whether the call's deadline was at most so long; on the wire it has a few digits, and is rounded up."""
    return seen.seconds_left is not None and seen.seconds_left <= seconds * 1.05


async def test_an_attempt_takes_no_longer_than_its_method(client: Driver, fake: Fake) -> None:
    stub = bookings(client.channel(fake.address))
    await client.call(stub.GetBooking, GET)
    await client.call(stub.CreateBooking, CREATE)
    await client.call(stub.CreateBooking, CREATE, timeout=500)
    await client.call(stub.CreateBooking, CREATE, timeout=3)
    assert [within(seen, bound) for seen, bound in zip(fake.seen, [5, 10, 10, 3], strict=True)] == [True] * 4
    assert not within(fake.seen[1], 5)


async def test_a_method_that_the_contract_does_not_know_has_a_deadline_too_and_one_attempt(client: Driver, fake: Fake) -> None:
    health: Any = health_pb2_grpc.HealthStub(client.channel(fake.address, patience_seconds=7))
    fake.plan("Check", fail(StatusCode.UNAVAILABLE))
    assert (await failure(client.call(health.Check, health_pb2.HealthCheckRequest()))).code() is StatusCode.UNAVAILABLE
    (seen,) = fake.seen
    assert within(seen, 7)


async def test_a_stream_has_the_deadline_of_its_method_and_a_list_none(client: Driver, fake: Fake) -> None:
    made = client.channel(fake.address)
    await client.stream(slots_pb2_grpc.SlotsServiceStub(made).SearchAvailability, SEARCH)
    await client.stream(bookings(made).ListBookings, LIST)
    search, listed = fake.seen
    assert within(search, 30)
    assert not within(listed, 1e6)


@pytest.mark.parametrize("act", AGAIN)
async def test_what_may_pass_is_tried_again(client: Driver, fake: Fake, act: Any) -> None:
    fake.plan("GetBooking", act)
    answer = await client.call(bookings(client.channel(fake.address)).GetBooking, GET)
    assert answer.booking.booking_id == "b1"
    assert len(fake.seen) == 2


@pytest.mark.parametrize(("code", "reason"), NEVER)
async def test_what_will_not_pass_is_not_tried_again(client: Driver, fake: Fake, code: StatusCode, reason: str) -> None:
    fake.plan("GetBooking", fail(code, reason))
    error = await failure(client.call(bookings(client.channel(fake.address)).GetBooking, GET))
    assert (error.code(), refusal(error).reason) == (code, reason)
    assert len(fake.seen) == 1


async def test_all_attempts_have_one_request_id_and_two_calls_have_two(client: Driver, fake: Fake) -> None:
    stub = bookings(client.channel(fake.address))
    fake.plan("CreateBooking", *AGAIN[1:4])
    await client.call(stub.CreateBooking, CREATE)
    await client.call(stub.CreateBooking, CREATE)
    *first, second = [seen.request.request_id for seen in fake.seen]
    assert len(first) == 4
    assert len(set(first)) == 1
    assert len(first[0]) == len(second) == 36
    assert second != first[0]
    assert all(seen.request.requests == "a window" for seen in fake.seen)
    assert pb.CreateBookingRequest(requests="a window") == CREATE  # the caller's message is as it was


async def test_a_request_id_of_the_callers_own_is_kept(client: Driver, fake: Fake) -> None:
    await client.call(bookings(client.channel(fake.address)).CreateBooking, pb.CreateBookingRequest(request_id="mine"))
    assert fake.seen[0].request.request_id == "mine"


async def test_all_attempts_send_the_request_as_it_was_at_the_call(client: Driver, fake: Fake) -> None:
    made = client.channel(fake.address)
    request = pb.CreateBookingRequest(request_id="first", requests="a window")
    search = slots_pb2.SearchAvailabilityRequest(station_ids=["first"])

    def reuse(context: Any) -> None:
        """The caller's program prepares its next call."""
        request.request_id, request.requests, search.station_ids[0] = "second", "a door", "second"
        fail(StatusCode.UNAVAILABLE)(context)

    fake.plan("CreateBooking", reuse)
    await client.call(bookings(made).CreateBooking, request)
    assert [(seen.request.request_id, seen.request.requests) for seen in fake.seen] == [("first", "a window")] * 2
    fake.plan("SearchAvailability", Break(0, reuse))
    search.station_ids[0] = "first"
    await client.stream(slots_pb2_grpc.SlotsServiceStub(made).SearchAvailability, search)
    assert [list(seen.request.station_ids) for seen in fake.calls("SearchAvailability")] == [["first"]] * 2


async def test_an_answer_that_is_none_of_the_method_is_not_asked_for_again(client: Driver, fake: Fake) -> None:
    def decode(_: bytes) -> Any:
        raise ValueError("no such message")

    made, service = client.channel(fake.address), "/teppan.bookings.v1.BookingsService"
    kinds: dict[str, Any] = {"request_serializer": lambda request: request.SerializeToString(), "response_deserializer": decode}
    unary, stream = made.unary_unary(f"{service}/GetBooking", **kinds), made.unary_stream(f"{service}/ListBookings", **kinds)
    for call in (client.call(unary, GET, timeout=1), client.stream(stream, LIST, timeout=1)):
        assert (await failure(call)).code() is StatusCode.INTERNAL
    assert len(fake.seen) == 2


@pytest.mark.parametrize("seconds", NO_PATIENCE)
def test_a_patience_that_nobody_has_is_refused(client: Driver, seconds: float) -> None:
    with pytest.raises(ValueError, match="patience_seconds is a positive number of seconds"):
        client.channel("127.0.0.1:1", patience_seconds=seconds)


async def test_the_request_of_another_method_is_refused_here(client: Driver, fake: Fake) -> None:
    stub = bookings(client.channel(fake.address))
    for call in (client.call(stub.GetBooking, CREATE), client.stream(stub.ListBookings, CREATE)):
        error = await failure(call)
        assert error.code() is StatusCode.INVALID_ARGUMENT
        assert "CreateBookingRequest" in (error.details() or "")
    assert not fake.seen


async def test_when_the_next_attempt_would_pass_the_budget_the_last_error_is_raised_as_it_is(client: Driver, fake: Fake) -> None:
    acts = [fail(StatusCode.UNAVAILABLE, "FEED_STALE", 0.01)] * 2
    fake.plan("GetBooking", *acts, fail(StatusCode.UNAVAILABLE, "PEER_UNAVAILABLE", 30))
    error = await failure(client.call(bookings(client.channel(fake.address)).GetBooking, GET, timeout=20))
    assert (refusal(error).reason, refusal(error).retry_seconds) == ("PEER_UNAVAILABLE", 30)
    assert len(fake.seen) == 3


@pytest.mark.parametrize("options", [{"timeout": 0.8}, {}])
async def test_all_attempts_share_one_budget(client: Driver, fake: Fake, options: Any) -> None:
    fake.plan("GetBooking", *[fail(StatusCode.UNAVAILABLE, "FEED_STALE", 0.01)] * 200)
    stub = bookings(client.channel(fake.address, patience_seconds=60 if options else 0.8))
    error = await failure(client.call(stub.GetBooking, GET, **options))
    assert refusal(error).reason == "FEED_STALE"  # also where the last attempt had no time for an answer
    assert len(fake.seen) > 1
    assert all(within(seen, 0.8) for seen in fake.seen)


async def test_an_attempt_that_hangs_is_given_up_for_another(client: Driver, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = replace(method_of("/teppan.bookings.v1.BookingsService/GetBooking"), deadline_seconds=0.2)
    monkeypatch.setattr(calls, "method_of", lambda _: quick)
    monkeypatch.setattr(aio.calls, "method_of", lambda _: quick)
    fake.plan("GetBooking", hold)
    await client.call(bookings(client.channel(fake.address)).GetBooking, GET)
    assert len(fake.seen) > 1


async def test_a_server_that_is_not_there_is_not_waited_for_longer_than_the_budget(client: Driver, fake: Fake) -> None:
    fake.stop()
    error = await failure(client.call(bookings(client.channel(fake.address)).GetBooking, GET, timeout=0.5))
    assert error.code() is StatusCode.UNAVAILABLE
    assert "refused" in (error.details() or "")


async def test_a_login_is_never_sent_twice_by_a_channel(client: Driver, fake: Fake) -> None:
    fake.plan("Login", fail(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", 0.01))
    error = await failure(
        client.call(tokens_pb2_grpc.TokensServiceStub(client.channel(fake.address)).Login, tokens_pb2.LoginRequest())
    )
    assert refusal(error).reason == "DATABASE_UNAVAILABLE"
    assert len(fake.seen) == 1


async def test_a_stream_begins_again_until_its_first_message_and_not_after_it(client: Driver, fake: Fake) -> None:
    search = slots_pb2_grpc.SlotsServiceStub(client.channel(fake.address)).SearchAvailability
    fake.plan("SearchAvailability", Break(0, fail(StatusCode.CANCELLED)), Break(0, fail(StatusCode.UNAVAILABLE)))
    assert [message.station_id for message in await client.stream(search, SEARCH)] == ["0", "1"]
    assert len(fake.seen) == 3
    fake.plan("SearchAvailability", Break(1, fail(StatusCode.UNAVAILABLE)))
    assert (await failure(client.stream(search, SEARCH))).code() is StatusCode.UNAVAILABLE
    assert len(fake.seen) == 4
