"""What stands around every call, unary or streaming: each concern is one small context manager, their order is written once.

call ID, log and metrics -> faults as status -> deadline -> who calls -> may they -> is it well formed -> are we fresh.
Permission is decided before shape and before existence, by the tenant that the request names.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import status_pb2
from teppan.common.v1 import options_pb2
from teppan.common.v1.options_pb2 import MethodPolicy

from faults import DatabaseUnavailable, DeadlineExceeded, Fault, InvalidArgument, ReaderTooSlow, ServerStopping
from ids import new_id
from rpccommon.auth import Verifier, permit
from rpccommon.policies import OUTSIDE
from rpccommon.present import Call, present
from rpccommon.shape import tenants_of, validate
from rpccommon.status import DETAILS_KEY, retry_seconds, status_of, status_of_bug
from rpccommon.telemetry import Measures, Telemetry

READER_PATIENCE_SECONDS = 60.0
MESSAGE_SECONDS = 10.0
"""How long a stream may take for its next message: a page takes milliseconds, a feed says something every 2 s."""
DEADLINE_MARGIN_SECONDS = 0.5
DEADLINE_MARGIN_SHARE = 0.1
"""What is kept of a caller's deadline, so that our answer is there before the caller gives up, and says why. What runs may need
a moment to be ended: `dbcommon.tenancy.CLOSE_SECONDS`."""
DEADLINE_SLACK_SECONDS = 0.05
"""Who sets a deadline also cancels by it, a moment before or after."""
TENANTS_LOGGED = 3
CALL_ID_KEY = "x-call-id"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
CALL_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
CODES = {int(code.value[0]): code for code in grpc.StatusCode}

Context = Any
"""A grpc.aio.ServicerContext; its type stubs differ from what grpc.aio has."""

log = structlog.get_logger()


class Calls(grpc.aio.ServerInterceptor):
    """Wraps every method of a server once."""

    def __init__(
        self, service: str, policies: Mapping[str, MethodPolicy], verifier: Verifier, telemetry: Telemetry, *,
        fresh: Callable[[], None] | None = None, idle: Callable[[], None] = lambda: None,
        reader_patience: float = READER_PATIENCE_SECONDS, message_seconds: float = MESSAGE_SECONDS,
    ) -> None:  # fmt: skip
        """`fresh` raises where the service has not heard enough to decide; `idle` asserts that no connection is held."""
        self._service = service
        self._policies = policies
        self._verifier = verifier
        self._telemetry = telemetry
        self._fresh = fresh
        self._idle = idle
        self._patience = reader_patience
        self._message_seconds = message_seconds
        self._wrapped: dict[str, Any] = {}
        self.unready: str | None = None
        """Why this process cannot serve at present: then it refuses at once, and does not let callers wait."""
        self.draining = False

    def drain(self) -> None:
        """From now on streams end after the message they are at, as resumable: never as if they were complete."""
        self.draining = True

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """The handler of a method, with everything around it; made once for each method."""
        handler = await continuation(details)
        if handler is None or details.method in OUTSIDE:
            return handler
        if details.method not in self._wrapped:
            self._wrapped[details.method] = self._wrap(details.method, handler)
        return self._wrapped[details.method]

    def _wrap(self, method: str, handler: Any) -> Any:
        policy, measures = self._policies[method], self._telemetry.of(method)

        async def unary(request: Message, context: Context) -> Any:
            async with self._around(method, policy, measures, context) as call:
                async with self._deadline(call.deadline):
                    await self._admit(call, policy, request, context)
                    answer = await handler.unary_unary(request, context)
                call.messages = 1
                return answer

        async def stream(request: Message, context: Context) -> None:
            async with self._around(method, policy, measures, context) as call:
                async with self._deadline(call.deadline):
                    await self._admit(call, policy, request, context)
                await self._send(call, handler.unary_stream(request, context), context)

        make = grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        return make(
            stream if handler.response_streaming else unary,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    @asynccontextmanager
    async def _around(self, method: str, policy: MethodPolicy, measures: Measures, context: Context) -> AsyncIterator[Call]:
        call = Call(method=method, call_id=_call_id(context), deadline=_deadline_of(policy, context))
        present.set(call)  # each call has a task, and so a context, of its own
        # At the end, not in the beginning: a client does not retry a call once it has seen initial metadata.
        context.set_trailing_metadata(((CALL_ID_KEY, call.call_id),))
        status = None
        with _observed(call, measures):
            try:
                yield call
            except Fault as fault:
                call.code, call.reason = fault.code.name, fault.reason
                status = status_of(fault, service=self._service, call_id=call.call_id)
            except Exception:
                call.code, call.reason = "INTERNAL", "BUG"
                log.exception("a call failed", method=method, call_id=call.call_id)
                status = status_of_bug(service=self._service, call_id=call.call_id)
        if status is not None:  # outside of all else: who takes nothing does not take this either, until it reads on
            await _abort(context, call, status)

    async def _admit(self, call: Call, policy: MethodPolicy, request: Message, context: Context) -> None:
        """Who, may they, is it well formed, are we ready and fresh: in this order."""
        if policy.scope != options_pb2.SCOPE_PUBLIC:
            call.caller = await self._verifier.caller(_metadata(context, "authorization"))
        try:
            call.tenants = tenants_of(request)
        except ValueError as error:
            validate(request)  # names every bad field, this one among them
            raise InvalidArgument({"station_id": "it must be a UUID"}) from error
        permit(policy, call.caller, call.tenants)
        validate(request)
        if self.unready is not None and policy.scope != options_pb2.SCOPE_PUBLIC:
            raise DatabaseUnavailable(self.unready)
        if self._fresh is not None and policy.scope not in {options_pb2.SCOPE_PUBLIC, options_pb2.SCOPE_SERVICE}:
            self._fresh()

    async def _send(self, call: Call, messages: AsyncIterator[Any], context: Context) -> None:
        """Sends a stream; no connection is held while the reader takes it, and its reader is not waited for for ever."""
        try:
            while True:
                soon = time.monotonic() + self._message_seconds
                async with self._deadline(soon if call.deadline is None else min(soon, call.deadline)):
                    message = await anext(messages, None)
                if message is None:
                    return
                if self.draining:
                    raise ServerStopping("this process stops; resume the stream")
                self._idle()
                try:
                    async with asyncio.timeout(self._patience):
                        await context.write(message)
                except TimeoutError as error:
                    raise ReaderTooSlow(f"nothing was taken for {self._patience:g} s; resume with the last token") from error
                call.messages += 1
        finally:
            await messages.aclose()  # type: ignore[attr-defined]  # handlers are async generators

    @asynccontextmanager
    async def _deadline(self, deadline: float | None) -> AsyncIterator[None]:
        """Bounds what is inside; a query that runs then is cancelled with it."""
        if deadline is None:
            yield
            return
        try:
            async with asyncio.timeout(deadline - time.monotonic()) as bound:
                yield
        except TimeoutError as error:
            if not bound.expired():
                raise
            if self.unready is not None:
                raise DatabaseUnavailable(self.unready) from error
            raise DeadlineExceeded("it took longer than the deadline allows") from error


@contextmanager
def _observed(call: Call, measures: Measures) -> Iterator[None]:
    """One line of the log and three metrics; no content, no metadata, no token."""
    started = time.perf_counter()
    measures.began()
    try:
        yield
    except asyncio.CancelledError:
        late = call.deadline is not None and time.monotonic() >= call.deadline - DEADLINE_SLACK_SECONDS
        call.code = "DEADLINE_EXCEEDED" if late else "CANCELLED"
        raise
    finally:
        seconds = time.perf_counter() - started
        measures.ended(call.code, seconds)
        log.info(
            "call",
            method=call.method,
            code=call.code,
            reason=call.reason,
            caller=f"{call.caller.kind}:{call.caller.subject}",
            tenant=",".join(map(str, call.tenants[:TENANTS_LOGGED])),
            duration_ms=round(seconds * 1e3, 3),
            call_id=call.call_id,
            messages=call.messages,
        )


def _deadline_of(policy: MethodPolicy, context: Context) -> float | None:
    """The caller's deadline, at most the method's default; that one where the caller sets none."""
    asked = context.time_remaining()
    if asked is not None:
        asked -= min(DEADLINE_MARGIN_SECONDS, DEADLINE_MARGIN_SHARE * asked)
    if policy.HasField("default_deadline"):
        default = policy.default_deadline.seconds + policy.default_deadline.nanos / 1e9
        asked = default if asked is None else min(asked, default)
    return None if asked is None else time.monotonic() + asked


def _metadata(context: Context, name: str) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == name:
            return str(value)
    return None


def _call_id(context: Context) -> str:
    given = _metadata(context, CALL_ID_KEY)
    return given if given and CALL_ID.fullmatch(given) else str(new_id())


async def _abort(context: Context, call: Call, status: status_pb2.Status) -> None:
    metadata = [(CALL_ID_KEY, call.call_id), (DETAILS_KEY, status.SerializeToString())]
    if (seconds := retry_seconds(status)) is not None:  # what RetryInfo says, to the clients that retry by a service config
        metadata.append((PUSHBACK_KEY, str(int(seconds * 1000))))
    await context.abort(CODES[status.code], status.message, tuple(metadata))
