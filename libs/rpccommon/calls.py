"""What stands around every call, unary or streaming, in one flat function each; the order of the steps is written once.

call ID -> whether there is time -> who calls -> how large -> can it be parsed -> counts and lengths -> which stations -> may they -> is it well formed
-> is this process ready and fresh -> the handler; then faults as status, the line of the log, the metrics.
Nothing of a request is looked at before its token is good, and each step costs little whatever the request holds.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from google.rpc import status_pb2
from grpc._cython.cygrpc import ExecuteBatchError  # type: ignore[import-not-found]  # what grpc.aio raises has no public name
from teppan.common.v1 import options_pb2
from teppan.common.v1.options_pb2 import MethodPolicy

from faults import DatabaseUnavailable, DeadlineExceeded, Fault, ReaderTooSlow, ServerStopping
from ids import new_text
from rpccommon.auth import Permission, Verifier
from rpccommon.places import Classes, Limits, Places
from rpccommon.present import Call, Deadlines, present
from rpccommon.rates import Rate
from rpccommon.shape import Shape, validate
from rpccommon.status import status_of, status_of_bug
from rpccommon.telemetry import Telemetry
from rpccommon.telling import CALL_ID_KEY, tell

READER_PATIENCE_SECONDS = 60.0
MESSAGE_SECONDS = 10.0
"""How long a stream may take for its next message: a page takes milliseconds, a feed says something every 2 s."""
DEADLINE_MARGIN_SECONDS = 0.5
DEADLINE_MARGIN_SHARE = 0.1
"""What is kept of a caller's deadline, so that our answer is there before the caller gives up, and says why. What runs may need
a moment to be ended: `dbcommon.tenancy.CLOSE_SECONDS`."""
DEADLINE_SLACK_SECONDS = 0.05
"""Who sets a deadline also cancels by it, a moment before or after."""
LIMITS = Limits()
LATE = DeadlineExceeded("it took longer than the deadline allows")
"""Never raised, only told."""
CALL_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

Context = Any
"""A grpc.aio.ServicerContext; its type stubs differ from what grpc.aio has."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method of the server, with what its contract says of it."""

    path: str
    permission: Permission
    shape: Shape
    rate: Rate
    seconds: float | None
    """The longest that a call may take; None for streams that stay open."""
    places: Places | None
    streams: bool
    public: bool
    needs_feed: bool
    """Whether it is refused while this process has not heard enough to decide."""


class Calls:
    """Wraps every method of a server once."""

    def __init__(
        self, service: str, policies: Mapping[str, MethodPolicy], verifier: Verifier, telemetry: Telemetry, *,
        fresh: Callable[[], None] | None = None, idle: Callable[[], None] = lambda: None,
        reader_patience: float = READER_PATIENCE_SECONDS, message_seconds: float = MESSAGE_SECONDS, limits: Limits = LIMITS,
    ) -> None:  # fmt: skip
        """`fresh` raises where the service has not heard enough to decide; `idle` asserts that no connection is held."""
        self._service = service
        self.policies = policies
        self._verifier = verifier
        self._telemetry = telemetry
        self._fresh = fresh
        self._idle = idle
        self._classes = Classes(limits)
        self._deadlines = Deadlines()
        self._patience = reader_patience
        self._message_seconds = message_seconds
        self.unready: str | None = None
        """Why this process cannot serve at present: then it refuses at once, and does not let callers wait."""
        self.draining = False

    def drain(self) -> None:
        """From now on streams end after the message they are at, as resumable: never as if they were complete."""
        self.draining = True

    def wrapped(self, path: str, handler: Any) -> Any:
        """Returns the handler of a method with everything around it. It takes and gives bytes."""
        policy = self.policies[path]
        method = Method(
            path=path,
            permission=Permission(policy),
            shape=Shape(handler.request_deserializer, bytes_max=policy.max_request_bytes),
            rate=self._telemetry.of(path),
            seconds=_seconds(policy),
            places=self._classes.of(policy, streams=handler.response_streaming),
            streams=handler.response_streaming,
            public=policy.scope == options_pb2.SCOPE_PUBLIC,
            needs_feed=policy.scope not in {options_pb2.SCOPE_PUBLIC, options_pb2.SCOPE_SERVICE},
        )
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._streaming(method, handler.unary_stream, handler.response_serializer))
        return grpc.unary_unary_rpc_method_handler(self._unary(method, handler.unary_unary, handler.response_serializer))

    def _unary(self, method: Method, handle: Any, serialise: Callable[[Any], bytes]) -> Any:
        async def unary(raw: bytes, context: Context) -> bytes:
            started = time.monotonic()
            call, authorization = _begun(method, context)
            try:
                request = await self._admit(call, method, raw, authorization, started)
                body = serialise(await handle(request, context))
            except BaseException as error:  # noqa: BLE001  # what is no answer is raised again
                status = self._status(call, error)
            else:
                call.messages = 1
                return body
            finally:
                self._ended(call, method, started)
            await tell(context, call.call_id, status)
            return b""  # which a client does not see beside an error

        return unary

    def _streaming(self, method: Method, handle: Any, serialise: Callable[[Any], bytes]) -> Any:
        async def streaming(raw: bytes, context: Context) -> None:
            started = time.monotonic()
            call, authorization = _begun(method, context)
            try:
                request = await self._admit(call, method, raw, authorization, started)
                await self._send(call, handle(request, context), serialise, context)
            except BaseException as error:  # noqa: BLE001  # what is no answer is raised again
                status = self._status(call, error)
            else:
                return
            finally:
                self._ended(call, method, started)
            # Outside of all else: who takes nothing does not take this either, until it reads on.
            await tell(context, call.call_id, status)

        return streaming

    async def _admit(self, call: Call, method: Method, raw: bytes, authorization: str | None, started: float) -> Any:
        """Returns the request, once everything that can be said of it without the handler is good. Raises faults."""
        if method.places is not None and call.deadline is not None and self.unready is None:
            method.places.refuse_late(call.deadline, started)
        call.end_at(call.deadline, LATE)
        self._deadlines.begin(call)
        if not method.public:
            call.caller = self._verifier.known(authorization) or await self._verifier.caller(authorization)
        request = method.shape.parse(raw)
        tenants = call.tenants = method.shape.tenants(request)
        method.permission.require(call.caller, tenants)
        validate(request, raw)
        if self.unready is not None and not method.public:
            raise DatabaseUnavailable(self.unready)
        if self._fresh is not None and method.needs_feed:
            self._fresh()
        if (places := method.places) is not None:
            call.turn = tenants[0].int if tenants else call.caller.subject
            if method.streams:
                self._classes.enter_stream(call, places)
            if not places.take(call.turn):
                await places.enter(call.turn, None if call.deadline is None else call.deadline - time.monotonic())
            call.entered = time.monotonic()
        return request

    async def _send(self, call: Call, messages: AsyncIterator[Any], serialise: Callable[[Any], bytes], context: Context) -> None:
        """Sends a stream; no connection is held while the reader takes it, and its reader is not waited for for ever."""
        slow = ReaderTooSlow(f"nothing was taken for {self._patience:g} s; resume with the last token")
        try:
            while True:
                soon = time.monotonic() + self._message_seconds
                call.end_at(soon if call.deadline is None else min(soon, call.deadline), LATE)
                message = await anext(messages, None)
                if message is None:
                    return
                if self.draining:
                    raise ServerStopping("this process stops; resume the stream")
                self._idle()
                call.end_at(time.monotonic() + self._patience, slow)
                try:
                    if not call.messages:  # else an abort during the first write would never be sent: "too many operations"
                        await context.send_initial_metadata(())
                    await context.write(message if isinstance(message, bytes) else serialise(message))
                except ExecuteBatchError:  # so grpc.aio says that the reader has gone, where it does not cancel
                    raise asyncio.CancelledError from None
                call.messages += 1
        finally:
            await messages.aclose()  # type: ignore[attr-defined]  # handlers are async generators

    def _status(self, call: Call, error: BaseException) -> status_pb2.Status:
        """Returns what the caller is told of a failure; raises it again where there is nobody to tell."""
        fault = error if isinstance(error, Fault) else call.overdue
        if isinstance(error, Exception) and not isinstance(error, Fault):
            log.error("a call failed", method=call.method, call_id=call.call_id, exc_info=error)
            if fault is None:
                call.code, call.reason = "INTERNAL", "BUG"
                return status_of_bug(service=self._service, call_id=call.call_id)
        if fault is None:
            late = call.deadline is not None and time.monotonic() >= call.deadline - DEADLINE_SLACK_SECONDS
            call.code = "DEADLINE_EXCEEDED" if late else "CANCELLED"
            raise error
        if isinstance(error, asyncio.CancelledError) and call.task is not None:
            call.task.uncancel()
        if isinstance(fault, DeadlineExceeded) and fault is call.overdue and self.unready is not None:
            fault = DatabaseUnavailable(self.unready)
        call.code, call.reason = fault.code.name, fault.reason
        return status_of(fault, service=self._service, call_id=call.call_id)

    def _ended(self, call: Call, method: Method, started: float) -> None:
        """Gives the place back; one line of the log and three metrics: no content, no metadata, no token."""
        self._deadlines.end(call)
        now = time.monotonic()
        if method.places is not None and call.entered is not None and not method.streams:
            method.places.leave(call.turn, now - call.entered)
        seconds = now - started
        method.rate.ended(call.code, seconds)
        self._telemetry.log_call(call, seconds)


def _begun(method: Method, context: Context) -> tuple[Call, str | None]:
    """Returns the call, and what it says of who makes it."""
    authorization = given = None
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and authorization is None:
            authorization = str(value)
        elif key == CALL_ID_KEY and given is None:
            given = str(value)
    call_id = given if given and CALL_ID.fullmatch(given) else new_text()
    call = Call(method.path, call_id, asyncio.current_task(), _deadline_of(method, context))
    present.set(call)  # each call has a task, and so a context, of its own
    # At the end, not in the beginning: a client does not retry a call once it has seen initial metadata.
    context.set_trailing_metadata(((CALL_ID_KEY, call_id),))
    method.rate.began()
    return call, authorization


def _seconds(policy: MethodPolicy) -> float | None:
    return policy.default_deadline.seconds + policy.default_deadline.nanos / 1e9 if policy.HasField("default_deadline") else None


def _deadline_of(method: Method, context: Context) -> float | None:
    """The caller's deadline, at most the method's default; that one where the caller sets none."""
    asked = context.time_remaining()
    if asked is not None:
        asked -= min(DEADLINE_MARGIN_SECONDS, DEADLINE_MARGIN_SHARE * asked)
    if method.seconds is not None:
        asked = method.seconds if asked is None else min(asked, method.seconds)
    return None if asked is None else time.monotonic() + asked
