"""What a login gave, and until when it is good. Pure: `now` is passed in, in seconds of a monotonic clock."""

import base64
import json
import math
from dataclasses import dataclass, field

import grpc

from teppan.client.attempts import PATIENCE_SECONDS, Attempts, transient, unary
from teppan.client.methods import Method
from teppan.client.refusals import CallFailed, Refusal, like, refusal

RENEWED_AT = 0.8
"""The part of its lifetime after which a token is renewed, while the old one is still good."""
LOGIN_SECONDS = 10.0
RENEWAL_PAUSE_SECONDS = 5.0
REFUSED_PAUSE_SECONDS = 600.0
REPLACED_PAUSE_SECONDS = 30.0
"""A refused token is replaced by a login once in so long: a service that refuses every token would cost a login with every call."""
LOGIN = Method(repeatable=True, deadline_seconds=LOGIN_SECONDS, sent_max=3)
"""By its policy nothing repeats a login blindly. Here it is repeated, but only while no answer came, and once identity answers
something that harms nothing. All that a login changes is a counter: the right password sets it to zero, so that to send it again
harms nothing; a wrong one is counted, perhaps, though its answer was lost, and five lock the address out: hence three. An answer ends it:
LOGIN_REFUSED is never asked for again at once."""
RENEWAL = Method(deadline_seconds=LOGIN_SECONDS)
"""One attempt: the old token is still good, and the next attempt soon enough."""
ANSWERED_NOTHING = "identity answered without a token"
LATE = CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "no token: the login takes too long")


@dataclass(slots=True)
class Session:
    """The token of a login."""

    token: str = field(default="", repr=False)
    renew_time: float = 0.0
    end_time: float = 0.0
    refused: CallFailed | None = field(default=None, repr=False)
    """The last refusal, of which each caller gets a copy."""
    refused_until_time: float = 0.0
    replaced_time: float = -math.inf
    """When a service last refused a token that was then given up."""

    def fresh(self, now: float) -> str:
        """The token; empty where it is time for another."""
        return self.token if now < min(self.renew_time, self.end_time) else ""

    def spare(self, now: float) -> str:
        """The token as long as it holds; empty where it does not."""
        return self.token if now < self.end_time else ""

    def attempts(self, now: float) -> Attempts:
        """How a login is tried now. Raises the last refusal where that is too fresh: five wrong passwords lock the address out."""
        if self.refused is not None and now < self.refused_until_time:
            raise like(self.refused)
        return unary(RENEWAL if self.spare(now) else LOGIN, None, PATIENCE_SECONDS, now)

    def took(self, token: str, asked: float) -> None:
        """A login that began at `asked` succeeded. The wall clock may be wrong here, so only the token's length counts."""
        lifetime = lifetime_seconds(token)
        self.token, self.refused = token, None
        self.renew_time, self.end_time = asked + lifetime * RENEWED_AT, asked + lifetime

    def failed(self, error: grpc.RpcError, now: float) -> None:
        """A login failed for good, or for now."""
        self.renew_time = now + RENEWAL_PAUSE_SECONDS
        if refusal(error).code == "UNAUTHENTICATED":
            self.refused, self.refused_until_time = like(error), now + REFUSED_PAUSE_SECONDS
            self.renew_time = self.refused_until_time  # until then the old token, if there is one, is used to its end

    def drop(self, token: str, now: float) -> None:
        """A service refuses the token. Another one, which came since, stays; so does one that has only just replaced another."""
        if self.token == token and now >= self.replaced_time + REPLACED_PAUSE_SECONDS:
            self.token, self.replaced_time = "", now


def unfinished(attempts: Attempts, failure: Refusal) -> bool:
    """Whether a login ended for want of time, or was but the one attempt of a renewal: whoever has more time asks again."""
    sent_max = attempts.method.sent_max
    return attempts.method is RENEWAL or (transient(failure) and sent_max is not None and attempts.sent < sent_max)


def cannot(error: BaseException) -> CallFailed:
    """Why there is no token where a login did not even fail: its channel is closed, say."""
    return CallFailed(grpc.StatusCode.FAILED_PRECONDITION, f"no token: the login cannot be made: {error!r}")


def lifetime_seconds(token: str) -> float:
    """How long a JWT was good for when it was made; infinite where it does not say, and is used until it is refused."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"]) - float(claims["iat"])
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
        return math.inf
