"""What a channel adds to every call: a deadline, a `request_id`, a token, and further attempts."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from teppan.client.aio.login import TokenSource
from teppan.client.attempts import UNDECODABLE, Attempts, checked_patience, streaming, unary
from teppan.client.bearer import bearing, own
from teppan.client.methods import Method, method_of
from teppan.client.refusals import CallFailed, refusal

END = object()
Continuation = Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]]


class Sending:
    """What unary and streaming calls have in common."""

    def __init__(self, source: TokenSource | None, patience_seconds: float) -> None:
        self._source = source
        self.patience_seconds = checked_patience(patience_seconds)

    async def details(self, asked: Any, attempts: Attempts) -> grpc.aio.ClientCallDetails:
        """What the next attempt is sent with. Raises grpc.aio.AioRpcError where there is no token for it."""
        metadata, has_token = own(asked.metadata)
        attempts.token = ""
        if self._source and attempts.method.needs_token and not has_token and asked.credentials is None:
            attempts.token = await self._source.get(attempts.patience(time.monotonic()))
            metadata = bearing(metadata, attempts.token)
        return grpc.aio.ClientCallDetails(
            method=asked.method,
            timeout=attempts.timeout(time.monotonic()),
            metadata=grpc.aio.Metadata(*metadata),
            credentials=asked.credentials,
            wait_for_ready=asked.wait_for_ready,
        )

    async def attempt(self, continuation: Continuation, asked: Any, attempts: Attempts, request: Any) -> Any:
        """The next call. Raises grpc.aio.AioRpcError."""
        details = await self.details(asked, attempts)
        try:
            return await continuation(details, request)
        except grpc.aio.UsageError as closed:  # the channel
            raise CallFailed(grpc.StatusCode.FAILED_PRECONDITION, str(closed)) from None

    async def pause(self, error: grpc.aio.AioRpcError, attempts: Attempts) -> float | None:
        """How long to wait before the next attempt; None where there is none."""
        failure = refusal(error)
        if self._source and attempts.renews(failure):
            self._source.refuse(attempts.token)
            return 0.0 if await self._source.get(attempts.patience(time.monotonic())) != attempts.token else None
        return attempts.pause(failure, time.monotonic())


class UnaryCalls(grpc.aio.UnaryUnaryClientInterceptor):
    """Stands around every call with one answer."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending

    async def intercept_unary_unary(self, continuation: Continuation, client_call_details: Any, request: Any) -> Any:
        """The attempt that was answered. Raises grpc.aio.AioRpcError."""
        method = _method(client_call_details)
        request = method.sendable(request)
        attempts = unary(method, client_call_details.timeout, self._sending.patience_seconds, time.monotonic())
        while True:
            call = await self._sending.attempt(continuation, client_call_details, attempts, request)
            try:
                _decoded(await call, call)
            except grpc.aio.AioRpcError as error:
                verdict = attempts.verdict(error)
                pause = await self._sending.pause(error, attempts)
                if pause is None:
                    raise verdict from None
            else:
                return call
            await asyncio.sleep(pause)


class StreamingCalls(grpc.aio.UnaryStreamClientInterceptor):
    """Stands around every stream: it begins again until its first message is there."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending

    async def intercept_unary_stream(self, continuation: Continuation, client_call_details: Any, request: Any) -> Any:
        """The messages. Raises grpc.aio.AioRpcError."""
        method = _method(client_call_details)
        request = method.sendable(request)
        attempts = streaming(method, client_call_details.timeout, self._sending.patience_seconds, time.monotonic())
        while True:
            call = await self._sending.attempt(continuation, client_call_details, attempts, request)
            try:
                first = _decoded(await anext(aiter(call), END), call)
            except grpc.aio.AioRpcError as error:
                verdict = attempts.verdict(error)
                pause = await self._sending.pause(error, attempts)
                if pause is None:
                    raise verdict from None
            else:
                return _from_first(first, call)
            await asyncio.sleep(pause)


async def _from_first(first: Any, call: Any) -> AsyncIterator[Any]:
    """The messages of a stream of which one was read, or END."""
    if first is END:
        return
    yield first
    async for message in call:
        yield _decoded(message, call)


def _decoded(message: Any, call: Any) -> Any:
    """The message. grpc.aio gives None for one that it cannot decode, where the sync API says INTERNAL. Raises CallFailed."""
    if message is None:
        call.cancel()
        raise CallFailed(grpc.StatusCode.INTERNAL, UNDECODABLE)
    return message


def _method(details: Any) -> Method:
    path = details.method  # in fact bytes, whatever its type stubs say
    return method_of(path if isinstance(path, str) else path.decode())
