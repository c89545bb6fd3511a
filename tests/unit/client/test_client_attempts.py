"""When a call is made again, and after how long: decided without a server."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from teppan.bookings.v1 import bookings_pb2, slots_pb2
from teppan.client.attempts import JITTER_SECONDS_MAX, PAUSE_SECONDS_MAX, Attempts, streaming, transient, unary
from teppan.client.methods import Method, method_of
from teppan.client.refusals import DETAILS_KEY, CallFailed, Refusal, refusal
from teppan.identity.v1 import tokens_pb2

READ = Method(repeatable=True, deadline_seconds=5)
DOWN = Refusal(code="UNAVAILABLE")
EXPIRED = Refusal(code="UNAUTHENTICATED", reason="TOKEN_EXPIRED")


def test_a_methods_policy_is_read_from_the_contract() -> None:
    assert bookings_pb2
    assert slots_pb2
    assert tokens_pb2
    create = method_of("/teppan.bookings.v1.BookingsService/CreateBooking")
    assert (create.repeatable, create.identified, create.needs_token, create.deadline_seconds) == (True, True, True, 10)
    listed = method_of("/teppan.bookings.v1.BookingsService/ListBookings")
    assert (listed.repeatable, listed.identified, listed.needs_token, listed.deadline_seconds) == (True, False, True, None)
    login = method_of("/teppan.identity.v1.TokensService/Login")
    assert (login.repeatable, login.identified, login.needs_token, login.deadline_seconds) == (False, False, False, 10)
    assert method_of("/of.others/Method") == Method()


def test_pauses_double_up_to_two_seconds_with_chance_in_them() -> None:
    for _ in range(50):
        attempts = unary(READ, None, 1_000, 0)
        pauses = [attempts.pause(DOWN, 0) or 0 for _ in range(30)]
        for number, pause in enumerate(pauses):
            longest = min(0.1 * 2**number, PAUSE_SECONDS_MAX)
            assert longest / 2 <= pause <= longest
    assert len(set(pauses)) == len(pauses)


@pytest.mark.parametrize("seconds", [0.001, 1, 600])
def test_what_the_service_asks_for_is_waited_for_and_little_more(seconds: float) -> None:
    for _ in range(50):
        pause = unary(READ, None, 10_000, 0).pause(Refusal(code="UNAVAILABLE", retry_seconds=seconds), 0)
        assert pause is not None
        assert seconds <= pause <= seconds + min(seconds / 2, JITTER_SECONDS_MAX)


def test_retry_at_once_is_waited_for_a_little_all_the_same() -> None:
    assert (unary(READ, None, 60, 0).pause(Refusal(code="ABORTED", retry_seconds=0), 0) or 0) >= 0.05


def test_a_service_that_asks_for_less_than_no_time_gets_a_little() -> None:
    retry, status = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=-5)), status_pb2.Status()
    status.details.add().Pack(retry)
    said = refusal(CallFailed(StatusCode.ABORTED, "later", [(DETAILS_KEY, status.SerializeToString())]))
    assert said.retry_seconds == 0
    assert (unary(READ, None, 60, 0).pause(said, 0) or 0) >= 0.05


def test_no_attempt_begins_after_the_patience() -> None:
    assert unary(READ, None, 60, 0).pause(Refusal(code="UNAVAILABLE", retry_seconds=60), 0) is None
    assert unary(READ, 2, 60, 0).pause(DOWN, 1.99) is None
    assert unary(READ, 2, 60, 0).pause(DOWN, 1.5) is not None


def test_a_call_that_may_not_be_repeated_is_not() -> None:
    assert unary(Method(), None, 60, 0).pause(DOWN, 0) is None


def test_an_attempt_has_what_is_left_and_at_most_what_its_method_may_take() -> None:
    attempts = unary(READ, None, 60, 100)
    assert [attempts.timeout(now) for now in (100, 154, 155, 158)] == [5, 5, 5, 2]
    assert unary(Method(repeatable=True), 7, 60, 100).timeout(101) == 6


def test_a_stream_without_a_timeout_is_bounded_by_its_method_only() -> None:
    assert streaming(Method(repeatable=True), None, 60, 100).timeout(100) is None
    assert streaming(READ, None, 60, 100).timeout(159) == 5
    assert streaming(READ, 3, 60, 100).timeout(101) == 2
    assert streaming(READ, None, 60, 100).pause(DOWN, 160) is None  # but its first message is not waited for longer
    assert streaming(READ, None, 60, 100).patience(110) == 50


def test_an_attempt_that_only_ran_out_of_time_says_less_than_the_failure_before_it() -> None:
    attempts = unary(READ, None, 60, 0)
    late, down = CallFailed(StatusCode.DEADLINE_EXCEEDED, "late"), CallFailed(StatusCode.UNAVAILABLE, "down")
    assert not attempts.again
    assert [attempts.verdict(error) for error in (late, late)] == [late, late]
    assert [attempts.verdict(error) for error in (down, late)] == [down, down]
    assert attempts.again


def with_token() -> Attempts:
    attempts = unary(Method(needs_token=True), None, 60, 0)
    attempts.token = "t1"  # noqa: S105  # of this test
    return attempts


def test_a_refused_token_is_renewed_once_and_only_where_the_client_has_put_it_in() -> None:
    attempts = with_token()
    assert [attempts.renews(EXPIRED), attempts.renews(EXPIRED)] == [True, False]
    assert with_token().renews(Refusal(code="UNAUTHENTICATED", reason="TOKEN_INVALID"))
    assert not with_token().renews(Refusal(code="UNAUTHENTICATED", reason="LOGIN_REFUSED"))
    assert not with_token().renews(Refusal(code="PERMISSION_DENIED", reason="TOKEN_EXPIRED"))
    assert not unary(READ, None, 60, 0).renews(EXPIRED)


def test_that_a_token_was_refused_is_not_told_where_the_next_attempt_ran_out_of_time() -> None:
    attempts, late = with_token(), CallFailed(StatusCode.DEADLINE_EXCEEDED, "late")
    attempts.verdict(CallFailed(StatusCode.UNAUTHENTICATED, "expired"))
    assert attempts.renews(EXPIRED)
    assert attempts.verdict(late) is late


@pytest.mark.parametrize(
    ("code", "bare", "with_reason", "with_retry"),
    [
        ("UNAVAILABLE", True, True, True), ("DEADLINE_EXCEEDED", True, True, True), ("CANCELLED", True, True, True),
        ("ABORTED", False, False, True), ("RESOURCE_EXHAUSTED", False, False, True), ("INTERNAL", True, False, False),
        ("UNKNOWN", True, False, False), ("NOT_FOUND", False, False, False), ("DATA_LOSS", False, False, False),
        ("UNAUTHENTICATED", False, False, False), ("FAILED_PRECONDITION", False, False, False),
    ],
)  # fmt: skip
def test_what_may_pass(code: str, *, bare: bool, with_reason: bool, with_retry: bool) -> None:
    refusals = [Refusal(code=code), Refusal(code=code, reason="R"), Refusal(code=code, reason="R", retry_seconds=1)]
    assert [transient(each) for each in refusals] == [bare, with_reason, with_retry]
