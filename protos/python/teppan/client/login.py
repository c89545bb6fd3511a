"""Tokens for calls: one that is given, or those of a login, shared by all threads."""

import os
import threading
import time
from dataclasses import dataclass, field
from typing import Protocol

import grpc

from teppan.client.attempts import Attempts
from teppan.client.bearer import carried
from teppan.client.refusals import CallFailed, like, refusal
from teppan.client.sessions import ANSWERED_NOTHING, LATE, Session, cannot, unfinished
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


@dataclass(slots=True)
class Asking:
    """A login that a thread makes for all. It is waited for by an event: a thread whose `join` a signal interrupts seems dead."""

    attempts: Attempts
    done: threading.Event = field(default_factory=threading.Event)
    token: str = field(default="", repr=False)
    error: CallFailed = LATE
    """Why there is no token, when it is done."""
    pid: int = field(default_factory=os.getpid)
    """A process that is forked meanwhile has the event, and not the thread."""


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
        ten minutes without asking: wrong passwords lock the address out.
        """
        now = time.monotonic()
        end = now + timeout
        while not (token := self._session.fresh(now)):
            spare = self._session.spare(now)
            try:
                asking = self._begun(now)
            except RuntimeError as error:  # no thread is to be had: at the end of the process, say
                if not spare:
                    raise cannot(error) from error
                return spare
            if spare:
                return spare
            if not asking.done.wait(max(end - now, 0)):
                raise like(asking.attempts.told or LATE)
            if asking.token:
                return asking.token
            now = time.monotonic()
            if now >= end or not unfinished(asking.attempts, refusal(asking.error)):
                raise like(asking.error)
        return token

    def refuse(self, token: str) -> None:
        """A service refused this token."""
        self._session.drop(token, time.monotonic())

    def _begun(self, now: float) -> "Asking":
        """The login that is under way, or another one. Raises the last refusal where that is too fresh."""
        with self._lock:
            last = self._asking
            if last is None or last.pid != os.getpid() or (last.done.is_set() and not self._session.fresh(now)):
                last = Asking(self._session.attempts(now))
                threading.Thread(target=self._ask, args=(last,), name="login", daemon=True).start()
                self._asking = last
        return last

    def _ask(self, asking: Asking) -> None:
        """Until there is a token, or none is to be had."""
        asked = time.monotonic()
        try:
            token = self._sent(asking.attempts).access_token
            if not token:
                raise ValueError(ANSWERED_NOTHING)  # noqa: TRY301
            self._session.took(token, asked)
            asking.token = token
        except grpc.RpcError as error:
            asking.error = like(error)
            self._session.failed(error, time.monotonic())
        except Exception as error:  # noqa: BLE001  # a closed channel raises ValueError; whatever it is, callers wait to be told
            asking.error = cannot(error)
            self._session.failed(asking.error, time.monotonic())
        finally:
            asking.done.set()

    def _sent(self, attempts: Attempts) -> tokens_pb2.LoginResponse:
        while True:
            timeout = attempts.timeout(time.monotonic())
            try:
                if attempts.again:
                    self._stub.GetKeys(tokens_pb2.GetKeysRequest(), timeout=timeout, wait_for_ready=True)
                attempts.sent += 1
                return self._stub.Login(self._request, timeout=timeout)
            except grpc.RpcError as error:
                verdict = attempts.verdict(error)
                pause = attempts.pause(refusal(error), time.monotonic())
                if pause is None:
                    raise verdict from None
            time.sleep(pause)
