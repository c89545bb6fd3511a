"""The attempts of one call: how long each may take, whether another one follows, and after how long. Pure: `now` is passed in.

All times are seconds of a monotonic clock.
"""

import math
import random
from dataclasses import dataclass, field
from typing import TypeVar, cast

import grpc

from teppan.client.methods import Method
from teppan.client.refusals import CallFailed, Refusal, refusal

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.1, 2.0
PAUSE_SHIFT_MAX = 10
JITTER_SECONDS_MAX = 1.0
SECONDS_MAX = 365 * 86_400.0
"""Far below what overflows in gRPC, which then says at once that time is up."""
TOKENS_REFUSED = ("TOKEN_EXPIRED", "TOKEN_INVALID")
UNDECODABLE = "Exception deserializing response!"
"""What gRPC says, with INTERNAL and by itself, of an answer that is no message of the method's type. It would be none again."""

Error = TypeVar("Error", bound=grpc.RpcError)


def transient(failure: Refusal) -> bool:
    """Whether the same request may succeed later, without anybody changing anything."""
    match failure.code:
        case "UNAVAILABLE" | "DEADLINE_EXCEEDED":  # an attempt's deadline: the call's own is what the patience is measured by
            return True
        case "CANCELLED":  # by the server: grpc.aio gives it to calls that a stopping server had queued
            return True
        case "ABORTED" | "RESOURCE_EXHAUSTED":  # without RetryInfo: ETAG_STALE, which stays stale; a message above the limit
            return failure.retry_seconds is not None
        case "INTERNAL" | "UNKNOWN":  # from a service it has a reason (BUG); without one, a connection was reset
            return not failure.reason and failure.message != UNDECODABLE
    return False


def checked_patience(seconds: float) -> float:
    """The seconds. Raises ValueError where nobody can wait for so long."""
    if not 0 < seconds <= SECONDS_MAX:  # also where it is no number
        raise ValueError(f"patience_seconds is a positive number of seconds, at most a year of them, and not {seconds!r}")
    return seconds


def bounded(timeout: float | None) -> float | None:
    """The timeout of a call, a year at most. Raises CallFailed where it is no number."""
    if timeout is not None and math.isnan(timeout):
        raise CallFailed(grpc.StatusCode.INVALID_ARGUMENT, f"a timeout is a number of seconds, and not {timeout!r}")
    return None if timeout is None else min(timeout, SECONDS_MAX)


@dataclass(slots=True, kw_only=True)
class Attempts:
    """Of one call, from when it begins."""

    method: Method
    end_time: float | None
    """When the call ends, whatever its state; None for a stream without a deadline, which may go on for ever."""
    patience_end_time: float
    """After which no further attempt begins."""
    token: str = field(default="", repr=False)
    """What the present attempt goes with; empty where the client has put in none."""
    failures: int = 0
    sent: int = 0
    """How many attempts the service may have worked on; counted by whoever sends them, where `sent_max` bounds them."""
    renewed: bool = False
    told: grpc.RpcError | None = None
    """The last verdict."""

    @property
    def again(self) -> bool:
        """Whether the next attempt is not the first one."""
        return self.told is not None

    def timeout(self, now: float) -> float | None:
        """How long the next attempt may take."""
        bounds = [self.method.deadline_seconds, None if self.end_time is None else self.end_time - now]
        return min((bound for bound in bounds if bound is not None), default=None)

    def patience(self, now: float) -> float:
        """How long it may take until the next attempt goes out."""
        return self.patience_end_time - now

    def pause(self, failure: Refusal, now: float) -> float | None:
        """How long to wait before the next attempt; None where there is none, and the failure is the answer."""
        if not self.method.repeatable or not transient(failure):
            return None
        self.sent -= failure.reason == "LOGIN_BUSY"  # which looked at no password
        if self.method.sent_max is not None and self.sent >= self.method.sent_max:
            return None
        pause = _pause(self.failures, failure.retry_seconds)
        self.failures += 1
        return pause if now + pause < self.patience_end_time else None

    def verdict(self, error: Error) -> Error:
        """What the call has failed with: one that only says that time is up says less than the failure before it."""
        if self.told is None or error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED or refusal(error).reason:
            self.told = error
        return cast("Error", self.told)

    def renews(self, failure: Refusal) -> bool:
        """Whether a new token is worth an attempt. One: a service that refuses a new token too would refuse the next."""
        refused = failure.code == "UNAUTHENTICATED" and failure.reason in TOKENS_REFUSED
        if not refused or not self.token or self.renewed:
            return False
        self.renewed, self.told = True, None  # what the old token met with says nothing of what comes
        return True


def unary(method: Method, timeout: float | None, patience_seconds: float, now: float) -> Attempts:
    """Of a call with one answer: all attempts end with the caller's timeout, or with the patience."""
    timeout = bounded(timeout)
    end = now + (patience_seconds if timeout is None else timeout)
    return Attempts(method=method, end_time=end, patience_end_time=end)


def streaming(method: Method, timeout: float | None, patience_seconds: float, now: float) -> Attempts:
    """Of a stream: the patience is for its first message; without a timeout, the rest may take as long as it takes."""
    attempts = unary(method, timeout, patience_seconds, now)
    if timeout is None:
        attempts.end_time = None
    return attempts


def _pause(failures: int, retry_seconds: float | None) -> float:
    """What the service asked for, and a part more; else 0.1 s, doubled to 2 s, and a part less. Chance spreads the callers."""
    if retry_seconds:
        return retry_seconds + random.uniform(0, min(retry_seconds / 2, JITTER_SECONDS_MAX))  # noqa: S311  # guards nothing
    longest = min(PAUSE_SECONDS_MIN * 2 ** min(failures, PAUSE_SHIFT_MAX), PAUSE_SECONDS_MAX)
    return random.uniform(longest / 2, longest)  # noqa: S311  # likewise
