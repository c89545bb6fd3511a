"""What a channel adds to every call: a deadline, a `request_id`, a token, and further attempts."""

from __future__ import annotations  # grpc's classes are generic in their type stubs only

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from teppan.client.attempts import Attempts, checked_patience, streaming, unary
from teppan.client.bearer import bearing, own
from teppan.client.login import TokenSource
from teppan.client.methods import method_of
from teppan.client.refusals import refusal

Continuation = Callable[[grpc.ClientCallDetails, Any], Any]


@dataclass(frozen=True, slots=True)
class Details(grpc.ClientCallDetails):
    """What a call is sent with."""

    method: str
    timeout: float | None
    metadata: tuple[tuple[str, str | bytes], ...] = field(repr=False)
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class Calls(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Stands around every call of a channel."""

    def __init__(self, source: TokenSource | None, patience_seconds: float) -> None:
        self._source = source
        self._patience = checked_patience(patience_seconds)

    def intercept_unary_unary(self, continuation: Continuation, client_call_details: grpc.ClientCallDetails, request: Any) -> Any:
        """The last attempt, done."""
        asked, method = client_call_details, method_of(client_call_details.method)
        request = method.sendable(request)
        attempts = unary(method, asked.timeout, self._patience, time.monotonic())
        while True:
            attempt = continuation(self._details(asked, attempts), request)
            error = attempt.exception()
            if error is None:
                return attempt
            if not isinstance(error, grpc.RpcError):  # the channel is closed: what that did to the call before is the answer
                return attempts.told or attempt
            verdict = attempts.verdict(error)
            pause = self._pause(error, attempts)
            if pause is None:
                return verdict  # a failed attempt is its own error
            time.sleep(pause)

    def intercept_unary_stream(self, continuation: Continuation, client_call_details: grpc.ClientCallDetails, request: Any) -> Any:
        """The stream, begun."""
        asked, method = client_call_details, method_of(client_call_details.method)
        request = method.sendable(request)
        attempts = streaming(method, asked.timeout, self._patience, time.monotonic())
        return Stream(
            attempts,
            lambda: continuation(self._details(asked, attempts), request),
            lambda error: self._pause(error, attempts),
        )

    def _details(self, asked: Any, attempts: Attempts) -> Details:
        """What the next attempt is sent with. Raises grpc.RpcError where there is no token for it.

        After a failure it waits for the connection. The sync API works on connections only while a call waits: where calls
        fail at once and nothing else goes on, each step to a new connection takes 5 s (grpc/grpc#28866; measured with 1.76: a
        service that was back after 1 s was reached after 8 to 19 s).
        """
        metadata, has_token = own(asked.metadata)
        attempts.token = ""
        if self._source and attempts.method.needs_token and not has_token and asked.credentials is None:
            attempts.token = self._source.get(attempts.patience(time.monotonic()))
            metadata = bearing(metadata, attempts.token)
        timeout = attempts.timeout(time.monotonic())
        waits = attempts.again and timeout is not None
        return Details(
            method=asked.method,
            timeout=timeout,
            metadata=metadata,
            credentials=asked.credentials,
            wait_for_ready=waits if asked.wait_for_ready is None else asked.wait_for_ready,
            compression=None,  # services refuse what is compressed: it could hide any size
        )

    def _pause(self, error: grpc.RpcError, attempts: Attempts) -> float | None:
        """How long to wait before the next attempt; None where there is none."""
        failure = refusal(error)
        if self._source and attempts.renews(failure):
            self._source.refuse(attempts.token)
            return 0.0 if self._source.get(attempts.patience(time.monotonic())) != attempts.token else None
        return attempts.pause(failure, time.monotonic())


class Stream:
    """A call of a streaming method, which begins again until its first message is there; else like grpc's own."""

    def __init__(self, attempts: Attempts, begin: Callable[[], Any], pause: Callable[[grpc.RpcError], float | None]) -> None:
        self._attempts, self._begin, self._pause = attempts, begin, pause
        self._cancelled = threading.Event()
        self._begun = False
        self._call = begin()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while True:
            try:
                message = next(self._call)
            except grpc.RpcError as error:
                if self._begun:
                    raise
                verdict = self._attempts.verdict(error)
                pause = self._pause(error)
                if pause is None or self._cancelled.wait(pause):
                    raise verdict from None
            else:
                self._begun = True
                return message
            try:
                self._call = self._begin()
            except ValueError as closed:  # the channel: what that did to the call before is the answer
                raise verdict from closed
            if self._cancelled.is_set():  # in between, by another thread
                self._call.cancel()

    def cancel(self) -> bool:
        """Ends it."""
        self._cancelled.set()
        return bool(self._call.cancel())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)
