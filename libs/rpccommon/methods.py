"""The methods of a server by their paths, each wrapped by `Calls` when generated code registers it.

Not an interceptor: that is asked about every call again, and gets requests parsed.
"""

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from rpccommon.calls import Calls
from rpccommon.policies import OUTSIDE


class Methods(grpc.GenericRpcHandler):
    """Stands for the server where generated code registers handlers, and finds them for the server."""

    def __init__(self, calls: Calls) -> None:
        """Takes what wraps our own methods; those of other people's protos have a guard against broken requests only."""
        self._calls = calls
        self._handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Does nothing: the next call brings the same handlers, by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Takes the methods of one service."""
        for name, handler in handlers.items():
            path = f"/{service}/{name}"
            self._handlers[path] = _guarded(handler) if path in OUTSIDE else self._calls.wrapped(path, handler)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Returns the handler of a call, or None."""
        return self._handlers.get(details.method)


def _guarded(handler: Any) -> Any:
    """The handler of a method that we did not write, which refuses what cannot be parsed instead of failing."""
    guard = _Guard(handler)
    serialise = handler.response_serializer
    if handler.request_streaming:
        return grpc.stream_stream_rpc_method_handler(guard.stream_stream, response_serializer=serialise)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(guard.unary_stream, response_serializer=serialise)
    return grpc.unary_unary_rpc_method_handler(guard.unary_unary, response_serializer=serialise)


class _Guard:
    """Parses for a handler."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    async def unary_unary(self, raw: bytes, context: Any) -> Any:
        return await self._handler.unary_unary(await self._parsed(raw, context), context)

    async def unary_stream(self, raw: bytes, context: Any) -> Any:
        async for message in self._handler.unary_stream(await self._parsed(raw, context), context):
            yield message

    async def stream_stream(self, requests: Any, context: Any) -> Any:
        async def messages() -> Any:
            async for raw in requests:
                yield await self._parsed(raw, context)

        async for message in self._handler.stream_stream(messages(), context):
            yield message

    async def _parsed(self, raw: bytes, context: Any) -> Any:
        try:
            return self._handler.request_deserializer(raw)
        except (DecodeError, UnicodeDecodeError):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request's bytes are not a message of the method's type")
