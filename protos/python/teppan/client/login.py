"""Tokens for calls: one that is given, or those of a login, shared by all threads."""

import threading
import time
from dataclasses import dataclass, field
from typing import Protocol

import grpc

from teppan.client.attempts import Attempts
from teppan.client.bearer import carried
from teppan.client.refusals import CallFailed, refusal
from teppan.client.sessions import Session
from teppan.identity.v1 import tokens_pb2, tokens_pb2_grpc


class TokenSource(Protocol):
    """Where a channel gets the token for each call from; called by many threads at once."""

    def get(self, timeout: float) -> str:
        """A token that should be good, within so many seconds. Raises grpc.RpcError, which fails the call."""

    def refuse(self, token: str) -> None:
        """A service refused this token: `get` should give another one."""


@dataclass(frozen=True, slots=True)
class FixedToken:
    """One token, until it expires. Raises ValueError where no call can carry it."""

    token: str = field(repr=False)

    def __post_init__(self) -> None:
        carried(self.token)

    def get(self, timeout: float) -> str:  # noqa: ARG002  # it is here
        """The token."""
        return self.token

    def refuse(self, token: str) -> None:
        """There is no other one."""


class Login:
    """The tokens of a user: logs in when one is first needed, and again shortly before it expires or when it is refused."""

    def __init__(self, channel: grpc.Channel, *, email: str, password: str) -> None:
        """`channel` leads to identity, and needs no token."""
        self._login = tokens_pb2_grpc.TokensServiceStub(channel).Login
        self._request = tokens_pb2.LoginRequest(email=email, password=password)
        self._session = Session()
        self._lock = threading.Lock()

    def get(self, timeout: float) -> str:
        """A token, within so many seconds. Raises grpc.RpcError.

        One thread logs in, and the others wait for it, or go on with the old token as long as that holds. After a
        LOGIN_REFUSED it is raised again for ten minutes without asking: wrong passwords lock the account.
        """
        now = time.monotonic()
        end, spare = now + timeout, self._session.spare(now)
        if token := self._session.fresh(now):
            return token
        if not self._lock.acquire(timeout=0 if spare else max(timeout, 0)):
            if spare:
                return spare
            raise CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "no token: a login that another thread makes takes too long")
        try:
            return self._session.fresh(time.monotonic()) or self._renewed(end)
        finally:
            self._lock.release()

    def refuse(self, token: str) -> None:
        """A service refused this token."""
        self._session.drop(
            token, time.monotonic()
        )  # without the lock, which a login may hold for long; what races here costs a login at most

    def _renewed(self, end: float) -> str:
        asked = time.monotonic()
        spare = self._session.spare(asked)
        attempts = self._session.attempts(end - asked, asked)  # here: that it raises an old refusal is no new one
        try:
            answer = self._ask(attempts)
        except grpc.RpcError as error:
            self._session.failed(error, time.monotonic())
            if spare:
                return spare
            raise
        self._session.took(answer.access_token, asked)
        return answer.access_token

    def _ask(self, attempts: Attempts) -> tokens_pb2.LoginResponse:
        while True:
            try:
                timeout = attempts.timeout(time.monotonic())
                return self._login(self._request, timeout=timeout, wait_for_ready=attempts.again)  # as `calls` does
            except grpc.RpcError as error:
                verdict = attempts.verdict(error)
                pause = attempts.pause(refusal(error), time.monotonic())
                if pause is None:
                    raise verdict from None
            time.sleep(pause)
