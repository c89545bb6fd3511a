"""Tokens for calls: one that is given, or those of a login, shared by all threads."""

import threading
import time
from dataclasses import dataclass, field
from typing import Protocol

import grpc

from teppan.client.attempts import Attempts
from teppan.client.bearer import carried
from teppan.client.refusals import CallFailed, like, refusal
from teppan.client.sessions import LATE, RENEWAL, Session, cannot
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
    """The tokens of a user: logs in when one is first needed, and again shortly before it expires or when it is refused.

    A thread of its own logs in, for all callers: who has no time to wait for it leaves it to those who come next.
    """

    def __init__(self, channel: grpc.Channel, *, email: str, password: str) -> None:
        """`channel` leads to identity, and needs no token."""
        self._stub = tokens_pb2_grpc.TokensServiceStub(channel)
        self._request = tokens_pb2.LoginRequest(email=email, password=password)
        self._session = Session()
        self._lock = threading.Lock()
        self._asking: Asking | None = None

    def get(self, timeout: float) -> str:
        """A token, within so many seconds. Raises grpc.RpcError.

        While a token is renewed, all go on with the old one, which is still good. After a LOGIN_REFUSED it is raised again for
        ten minutes without asking: wrong passwords lock the account.
        """
        now = time.monotonic()
        if token := self._session.fresh(now):
            return token
        asking = self._begun(now)
        if spare := self._session.spare(now):
            return spare
        asking.join(max(timeout, 0))
        if asking.is_alive():
            raise like(LATE)
        if asking.error is not None and asking.attempts.method is RENEWAL:  # meanwhile the old token has ended: one with patience
            return self.get(now + timeout - time.monotonic())
        if asking.error is not None:
            raise like(asking.error)
        return asking.token

    def refuse(self, token: str) -> None:
        """A service refused this token."""
        self._session.drop(token, time.monotonic())

    def _begun(self, now: float) -> "Asking":
        """The login that is under way, or another one. Raises the last refusal where that is too fresh."""
        with self._lock:
            last = self._asking
            if last is None or not (last.is_alive() or self._session.fresh(now)):
                last = self._asking = Asking(self._stub, self._request, self._session, self._session.attempts(now))
                last.start()
        return last


class Asking(threading.Thread):
    """A login under way. A process that is forked meanwhile makes another one: there, this one is not alive."""

    def __init__(
        self, stub: tokens_pb2_grpc.TokensServiceStub, request: tokens_pb2.LoginRequest, session: Session, attempts: Attempts
    ) -> None:
        super().__init__(name="login", daemon=True)
        self._stub, self._request, self._session = stub, request, session
        self.attempts = attempts
        self.token = ""
        self.error: CallFailed | None = None
        """Of these one is there when it has ended."""

    def run(self) -> None:
        """Until there is a token, or none is to be had."""
        asked = time.monotonic()
        try:
            self.token = self._ask().access_token
        except grpc.RpcError as error:
            self.error = like(error)
        except Exception as error:  # noqa: BLE001  # a closed channel raises ValueError; whatever it is, callers wait to be told
            self.error = cannot(error)
        if self.error is None:
            self._session.took(self.token, asked)
        else:
            self._session.failed(self.error, time.monotonic())

    def _ask(self) -> tokens_pb2.LoginResponse:
        while True:
            timeout = self.attempts.timeout(time.monotonic())
            try:
                if self.attempts.again:
                    self._stub.GetKeys(tokens_pb2.GetKeysRequest(), timeout=timeout, wait_for_ready=True)
                self.attempts.sent += 1
                return self._stub.Login(self._request, timeout=timeout)
            except grpc.RpcError as error:
                verdict = self.attempts.verdict(error)
                pause = self.attempts.pause(refusal(error), time.monotonic())
                if pause is None:
                    raise verdict from None
            time.sleep(pause)
