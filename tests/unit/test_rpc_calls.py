"""What stands around every call, over a real socket."""

import asyncio
import io
import time
from importlib.resources import files
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2
from teppan.bookings.v1 import bookings_pb2, bookings_pb2_grpc
from teppan.common.v1 import options_pb2, references_pb2, references_pb2_grpc
from teppan.identity.v1 import tokens_pb2, tokens_pb2_grpc

from callers import Kind
from faults import DatabaseUnavailable, Fault, FeedStale, Overloaded
from rpccommon.present import caller
from tests.unit.rpc_bookings import (
    BOOKING,
    CANCEL,
    GET,
    GET_PATH,
    LIST,
    QUESTION,
    VIEWER,
    BookingNotFound,
    Bookings,
    failure,
    lines,
)
from tests.unit.rpc_stage import OTHER_STATION, STATION, USER, Stage, bearer, details, stage, user


async def test_the_handler_knows_its_caller_its_call_and_its_deadline(on: Stage, bookings: Bookings) -> None:
    call = on.bookings.GetBooking(GET, metadata=(*VIEWER, ("x-call-id", "abc-1")))
    await call
    [(who, its_id, left)] = bookings.calls
    assert (who.kind, who.user_id, its_id) == (Kind.USER, USER, "abc-1")
    assert 4 < left <= 5, "the method's default, where the caller sets none"
    assert (await call.trailing_metadata())["x-call-id"] == "abc-1"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a;drop", "ü"])
async def test_a_call_id_that_is_no_token_is_replaced(on: Stage, bookings: Bookings, given: str) -> None:
    if given.isascii():
        await on.bookings.GetBooking(GET, metadata=(*VIEWER, ("x-call-id", given)))
    else:
        await on.bookings.GetBooking(GET, metadata=VIEWER)
    assert UUID(bookings.calls[0][1])


async def test_the_deadline_is_the_shorter_of_the_callers_and_the_methods(on: Stage, bookings: Bookings) -> None:
    for asked in (2, 60):
        await on.bookings.GetBooking(GET, metadata=VIEWER, timeout=asked)
    assert 1 < bookings.calls[0][2] <= 2.1
    assert 4 < bookings.calls[1][2] <= 5


async def test_a_call_ends_at_its_deadline_on_the_server_too(on: Stage, bookings: Bookings, log: io.StringIO) -> None:
    bookings.seconds = 30
    started = time.monotonic()
    error = await failure(on.bookings.GetBooking(GET, metadata=VIEWER, timeout=0.8))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert details(error)[0].reason == "DEADLINE_EXCEEDED", "the server's answer, and not only the client's own clock"
    async with asyncio.timeout(2):
        await bookings.ended.wait()
        while not lines(log):
            await asyncio.sleep(0.01)
    assert time.monotonic() - started < 2
    assert lines(log)[0]["code"] == "DEADLINE_EXCEEDED"


async def test_the_methods_deadline_ends_a_call_whose_caller_would_wait(
    on: Stage, bookings: Bookings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpccommon.calls._deadline_of", lambda *_: time.monotonic() + 0.2)
    bookings.seconds = 30
    error = await failure(on.bookings.GetBooking(GET, metadata=VIEWER, timeout=20))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert details(error)[0].reason == "DEADLINE_EXCEEDED"
    assert bookings.ended.is_set()


async def test_a_process_that_cannot_use_its_database_refuses_at_once(on: Stage, bookings: Bookings) -> None:
    on.calls.unready = "the database does not answer"
    error = await failure(on.bookings.GetBooking(GET, metadata=VIEWER, timeout=20))
    info, _, retry = details(error)
    assert (error.code(), info.reason, retry) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", 1)
    assert error.details() == "the database does not answer"
    assert error.trailing_metadata()["grpc-retry-pushback-ms"] == "1000"
    assert not bookings.calls
    on.calls.unready = None
    await on.bookings.GetBooking(GET, metadata=VIEWER, timeout=20)


async def test_who_waited_for_a_database_that_froze_is_told_so_before_the_deadline(on: Stage, bookings: Bookings) -> None:
    bookings.seconds = 30
    call = asyncio.ensure_future(failure(on.bookings.GetBooking(GET, metadata=VIEWER, timeout=1)))
    async with asyncio.timeout(5):
        while not bookings.calls:
            await asyncio.sleep(0)
    on.calls.unready = "the database does not answer"
    error = await call
    assert (error.code(), details(error)[0].reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")


async def test_a_timeout_of_the_handlers_own_is_no_deadline_but_a_bug(on: Stage, bookings: Bookings) -> None:
    bookings.fault = TimeoutError()
    assert (await failure(on.bookings.GetBooking(GET, metadata=VIEWER))).code() is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize(("fault", "attempts"), [(DatabaseUnavailable("it restarts"), 4), (Overloaded("too much"), 1)])
async def test_a_client_that_retries_by_a_service_config_retries_what_is_unavailable(
    on: Stage, bookings: Bookings, monkeypatch: pytest.MonkeyPatch, fault: Fault, attempts: int
) -> None:
    """It does so only where nothing was sent before the status."""
    monkeypatch.setattr(type(fault), "retry_seconds", 0.01)  # as the answer asks it to wait
    bookings.fault = fault
    options = [("grpc.service_config", (files("teppan") / "service_config.json").read_text())]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{on.port}", options=options) as channel:
        await failure(bookings_pb2_grpc.BookingsServiceStub(channel).GetBooking(GET, metadata=VIEWER))
    assert len(bookings.calls) == attempts


@pytest.mark.parametrize("method", ["GetBooking", "ListBookings"])
async def test_a_fault_travels_whole(on: Stage, bookings: Bookings, method: str) -> None:
    bookings.fault = BookingNotFound("there is no such booking", booking_id=BOOKING)
    request = GET if method == "GetBooking" else LIST
    error = await failure(getattr(on.bookings, method)(request, metadata=(*VIEWER, ("x-call-id", "c1"))))
    info, _, retry = details(error)
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "there is no such booking")
    assert (info.reason, info.domain, dict(info.metadata)) == (
        "BOOKING_NOT_FOUND", "test.teppan", {"booking_id": BOOKING, "call_id": "c1"},
    )  # fmt: skip
    assert retry == -1


@pytest.mark.parametrize("method", ["GetBooking", "ListBookings"])
async def test_a_bug_says_nothing_but_where_to_look(on: Stage, bookings: Bookings, log: io.StringIO, method: str) -> None:
    bookings.fault = RuntimeError("secret: ann@example.org")
    request = GET if method == "GetBooking" else LIST
    error = await failure(getattr(on.bookings, method)(request, metadata=(*VIEWER, ("x-call-id", "c1"))))
    info = details(error)[0]
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error, call c1")
    assert (info.reason, dict(info.metadata)) == ("BUG", {"call_id": "c1"})
    assert "secret" not in str(error.trailing_metadata())
    assert [line["call_id"] for line in lines(log, "a call failed")] == ["c1"]
    assert "RuntimeError" in log.getvalue()


async def test_the_log_has_one_line_a_call_and_nothing_that_was_sent(on: Stage, bookings: Bookings, log: io.StringIO) -> None:
    await on.bookings.GetBooking(GET, metadata=(*VIEWER, ("x-call-id", "c1")))
    bookings.fault = RuntimeError()
    await failure(on.bookings.GetBooking(GET, metadata=(*VIEWER, ("x-secret", "whisper"))))
    first, second = lines(log)
    assert {key: first[key] for key in ("method", "code", "reason", "caller", "tenant", "call_id", "messages")} == {
        "method": GET_PATH, "code": "OK", "reason": "", "caller": f"user:{USER}", "tenant": str(STATION), "call_id": "c1", "messages": 1,
    }  # fmt: skip
    assert first["duration_ms"] > 0
    assert (second["code"], second["reason"]) == ("INTERNAL", "BUG")
    token = VIEWER[0][1].removeprefix("Bearer ")
    for secret in ("whisper", BOOKING, token, token.split(".")[1]):
        assert secret not in log.getvalue()


async def test_calls_are_counted_by_method_and_code(on: Stage, bookings: Bookings) -> None:
    await on.bookings.GetBooking(GET, metadata=VIEWER)
    await failure(on.bookings.GetBooking(GET))
    counts = {
        code: on.registry.get_sample_value("rpc_calls_total", {"method": GET_PATH, "code": code})
        for code in ("OK", "UNAUTHENTICATED")
    }
    assert counts == {"OK": 1, "UNAUTHENTICATED": 1}
    assert on.registry.get_sample_value("rpc_duration_seconds_count", {"method": GET_PATH}) == 2
    assert on.registry.get_sample_value("rpc_in_flight", {"method": GET_PATH}) == 0


async def test_every_bad_field_is_named_at_once(on: Stage, bookings: Bookings) -> None:
    request = bookings_pb2.ListBookingsRequest(station_id=str(STATION), states=[1, 99], page_size=-1, page_limit=-1)  # type: ignore[list-item]  # 99 is no state
    error = await failure(on.bookings.ListBookings(request, metadata=VIEWER))
    info, bad, _ = details(error)
    assert (error.code(), info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELDS_INVALID")
    assert [violation.field for violation in bad.field_violations] == ["states[1]", "page_size", "page_limit"]
    assert all(violation.description for violation in bad.field_violations)
    assert not bookings.calls


async def test_permission_is_decided_before_shape_and_shape_before_a_station_that_is_no_uuid(on: Stage) -> None:
    nobody = bearer(user(other=options_pb2.ROLE_ADMIN))
    bad = bookings_pb2.GetBookingRequest(station_id=str(STATION), booking_id="x")
    assert (await failure(on.bookings.GetBooking(bad))).code() is grpc.StatusCode.UNAUTHENTICATED
    assert (await failure(on.bookings.GetBooking(bad, metadata=nobody))).code() is grpc.StatusCode.PERMISSION_DENIED
    worse = bookings_pb2.GetBookingRequest(station_id="y", booking_id="x")
    error = await failure(on.bookings.GetBooking(worse, metadata=nobody))
    assert [violation.field for violation in details(error)[1].field_violations] == ["station_id", "booking_id"]


async def test_a_foreign_station_and_one_that_never_was_get_the_same_answer(on: Stage) -> None:
    answers = set()
    for station in (OTHER_STATION, UUID(int=7)):
        request = bookings_pb2.GetBookingRequest(station_id=str(station), booking_id=BOOKING)
        error = await failure(on.bookings.GetBooking(request, metadata=(*VIEWER, ("x-call-id", "c"))))
        info = details(error)[0]
        answers.add((error.code(), error.details(), info.reason, str(info.metadata)))
    assert len(answers) == 1
    assert next(iter(answers))[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_a_stale_service_answers_no_user_but_services_and_what_is_public(bookings: Bookings) -> None:
    def stale() -> None:
        raise FeedStale("not heard from identity", feed="identity")

    class Tokens(tokens_pb2_grpc.TokensServiceServicer):
        async def GetKeys(self, request: Message, context: Any) -> tokens_pb2.GetKeysResponse:
            return tokens_pb2.GetKeysResponse(jwks_json="{}")

    class References(references_pb2_grpc.ReferencesServiceServicer):
        async def CheckReferences(self, request: Message, context: Any) -> references_pb2.CheckReferencesResponse:
            return references_pb2.CheckReferencesResponse(epoch=f"asked by {caller().subject}")

    async with stage(bookings, Tokens(), References(), fresh=stale) as on:  # type: ignore[abstract]  # nobody logs in
        error = await failure(on.bookings.GetBooking(GET, metadata=VIEWER))
        info, _, retry = details(error)
        assert (error.code(), info.reason, retry) == (grpc.StatusCode.UNAVAILABLE, "FEED_STALE", 1.0)
        keys = await on.peer.call(
            tokens_pb2_grpc.TokensServiceStub(on.peer.channel).GetKeys, tokens_pb2.GetKeysRequest(), timeout=2
        )
        assert keys.jwks_json == "{}"
        answer = await on.peer.call(references_pb2_grpc.ReferencesServiceStub(on.peer.channel).CheckReferences, QUESTION, timeout=2)
        assert answer.epoch == "asked by bookings"
        denied = bookings_pb2.GetBookingRequest(station_id=str(OTHER_STATION), booking_id=BOOKING)
        assert (await failure(on.bookings.GetBooking(denied, metadata=VIEWER))).code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_refused_call_reaches_no_handler(on: Stage, bookings: Bookings) -> None:
    for call in (
        on.bookings.CancelBooking(CANCEL, metadata=VIEWER),
        on.bookings.CancelBooking(CANCEL),
        on.bookings.ListBookings(LIST),
    ):
        await failure(call)
    assert not bookings.calls


def test_the_codes_of_faults_are_those_of_google() -> None:
    for name, number in code_pb2.Code.items():
        status = getattr(grpc.StatusCode, name)
        assert status.value[0] == number
