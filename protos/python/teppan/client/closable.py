"""A channel that may be closed while others call on it.

Generated stubs ask gRPC for a handle of each method. Below an interceptor that happens at every call, and on a channel that was
closed it crashes the process (seen with grpcio 1.76; grpc/grpc#43455). Without a handle such a call raises ValueError.

In a child of `fork` gRPC's threads are not there, and calls fail at random or hang: there they raise Forked.
"""

# ruff: noqa: D102  # grpc.Channel has them

import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc

Coder = Callable[[Any], Any] | None


class Forked(RuntimeError):
    """The channel was made before this process was forked."""


class Closable(grpc.Channel):
    """The same channel, without handles: whether there is one is the argument that stays here."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._of_process = channel
        self._process = os.getpid()

    @property
    def _channel(self) -> grpc.Channel:
        if os.getpid() != self._process:
            raise Forked(
                "the channel was made before this process was forked: make channels in the child, and none before the fork"
            )
        return self._of_process

    def unary_unary(self, method: str, serializer: Coder = None, deserializer: Coder = None, *_: bool) -> Any:
        return self._channel.unary_unary(method, serializer, deserializer)

    def unary_stream(self, method: str, serializer: Coder = None, deserializer: Coder = None, *_: bool) -> Any:
        return self._channel.unary_stream(method, serializer, deserializer)

    def stream_unary(self, method: str, serializer: Coder = None, deserializer: Coder = None, *_: bool) -> Any:
        return self._channel.stream_unary(method, serializer, deserializer)

    def stream_stream(self, method: str, serializer: Coder = None, deserializer: Coder = None, *_: bool) -> Any:
        return self._channel.stream_stream(method, serializer, deserializer)

    def subscribe(self, *arguments: Any, **named: Any) -> None:
        self._channel.subscribe(*arguments, **named)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        self._channel.unsubscribe(callback)

    def close(self) -> None:
        if os.getpid() == self._process:
            self._of_process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
