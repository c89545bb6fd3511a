"""Tokens for calls: one that is given, or those of a login, shared by all tasks of a loop."""

import asyncio
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
    """Where a channel gets the token for each call from; called by many tasks at once."""

    async def get(self, timeout: float) -> str:
        """A token that should be good, within so many seconds. Raises grpc.aio.AioRpcError, which fails the call, and nothing else."""

    def refuse(self, token: str) -> None:
        """A service refused this token: `get` should give another one."""


@dataclass(frozen=True, slots=True)
class FixedToken:
    """One token, until it expires. Raises ValueError where no call can carry it."""

    token: str = field(repr=False)

    def __post_init__(self) -> None:
        carried(self.token)

    async def get(self, timeout: float) -> str:  # noqa: ARG002  # it is here
        """The token."""
        return self.token

    def refuse(self, token: str) -> None:
        """There is no other one."""


Asking = tuple[Attempts, asyncio.Task[str | CallFailed]]
"""A login that a task makes for all."""


class Login:
    """The tokens of a user: logs in when one is first needed, and again shortly before it expires or when it is refused.

    A task of its own logs in, for all callers: who has no time to wait for it leaves it to those who come next.
    """

    def __init__(self, channel: grpc.aio.Channel, *, email: str, password: str) -> None:
        """`channel` leads to identity, and needs no token."""
        self._stub = tokens_pb2_grpc.TokensServiceStub(channel)
        self._request = tokens_pb2.LoginRequest(email=email, password=password)
        self._session = Session()
        self._asking: Asking | None = None

    async def get(self, timeout: float) -> str:
        """A token, within so many seconds. Raises grpc.aio.AioRpcError.

        While a token is renewed, all go on with the old one, which is still good. After a LOGIN_REFUSED it is raised again for
        ten minutes without asking: wrong passwords lock the address out.
        """
        now = time.monotonic()
        end = now + timeout
        while not (token := self._session.fresh(now)):
            spare = self._session.spare(now)
            attempts, asking = self._begun(now)
            if spare:
                return spare
            await asyncio.wait({asking}, timeout=end - now)
            if not asking.done():
                raise like(attempts.told or LATE)
            outcome = cannot(asyncio.CancelledError()) if asking.cancelled() else asking.result()
            if not isinstance(outcome, CallFailed):
                return outcome
            now = time.monotonic()
            if now >= end or not unfinished(attempts, refusal(outcome)):
                raise like(outcome)
        return token

    def refuse(self, token: str) -> None:
        """A service refused this token."""
        self._session.drop(token, time.monotonic())

    def _begun(self, now: float) -> Asking:
        """The login that is under way, or another one. Raises the last refusal where that is too fresh."""
        under_way = self._asking
        if under_way is None or under_way[1].done() or under_way[1].get_loop() is not asyncio.get_running_loop():
            attempts = self._session.attempts(now)
            under_way = self._asking = attempts, asyncio.create_task(self._made(attempts), name="login")
        return under_way

    async def _made(self, attempts: Attempts) -> str | CallFailed:
        """The token, or why none is to be had: each caller raises an error of its own."""
        asked = time.monotonic()
        try:
            token = str((await self._sent(attempts)).access_token)
            if not token:
                raise ValueError(ANSWERED_NOTHING)  # noqa: TRY301
            self._session.took(token, asked)
        except grpc.aio.AioRpcError as error:
            failure = like(error)
        except Exception as error:  # noqa: BLE001  # a channel of another make that is closed, say: callers wait to be told
            failure = cannot(error)
        else:
            return token
        self._session.failed(failure, time.monotonic())
        return failure

    async def _sent(self, attempts: Attempts) -> tokens_pb2.LoginResponse:
        while True:
            timeout = attempts.timeout(time.monotonic())
            try:
                if attempts.again:
                    await self._stub.GetKeys(tokens_pb2.GetKeysRequest(), timeout=timeout, wait_for_ready=True)
                attempts.sent += 1
                return await self._stub.Login(self._request, timeout=timeout)
            except grpc.aio.AioRpcError as error:
                verdict = attempts.verdict(error)
                pause = attempts.pause(refusal(error), time.monotonic())
                if pause is None:
                    raise verdict from None
            await asyncio.sleep(pause)
