"""A way to another service: who calls, how long it may take, and what its failures mean here."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import grpc

from faults import DeadlineExceeded, PeerUnavailable
from rpccommon.auth import ServiceToken
from rpccommon.present import call_id, deadline_left
from rpccommon.status import fault_of
from rpccommon.telling import CALL_ID_KEY
from tls import Tls

DEADLINE_MARGIN_SECONDS = 0.05
"""What is kept of the caller's deadline to say that a peer did not answer within it."""
KEEPALIVE_SECONDS = 5.0
KEEPALIVE_PATIENCE_SECONDS = 3.0
MESSAGE_BYTES_MAX = 4 * 1024 * 1024 + 64 * 1024
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},  # a replica that drains says so, and is left before it stops
}

Method = Any
"""A method of a stub: grpc's own type of it says nothing of request and response."""


class Peer:
    """Another service. Nothing is retried here: who called us does that, once, and not each of us in turn."""

    def __init__(
        self, name: str, address: str, token: ServiceToken, idle: Callable[[], None], *, tls: Tls | None = None
    ) -> None:  # fmt: skip
        """`address` may stand for several replicas: all that its name resolves to share the calls.

        `idle` asserts that this task holds no database connection. With `tls` the peer has to have a certificate of the same
        authority, in the name that it is called by.
        """
        self.name = name
        self.assert_idle = idle
        self._token = token
        if tls is None:
            self.channel = grpc.aio.insecure_channel(address, options=_options())
        else:
            credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
            self.channel = grpc.aio.secure_channel(address, credentials, options=_options())

    async def call(self, method: Method, request: Any, *, timeout: float) -> Any:  # gRPC sends it to the peer
        """The answer of a unary method within `timeout` seconds, and within the present call's deadline. Raises faults."""
        self.assert_idle()
        left = deadline_left()
        allowed = timeout if left is None else min(timeout, left - DEADLINE_MARGIN_SECONDS)
        if allowed <= 0:
            raise DeadlineExceeded(f"no time was left to ask {self.name}")
        try:
            return await method(request, timeout=allowed, metadata=self._metadata())
        except grpc.aio.AioRpcError as error:
            raise fault_of(error, peer=self.name) from error

    async def stream(self, method: Method, request: Any) -> AsyncGenerator[Any, None]:
        """What a streaming method sends, for as long as it does. Raises faults; a dead peer is noticed within 8 s."""
        self.assert_idle()
        call = method(request, metadata=self._metadata())
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise fault_of(error, peer=self.name) from error
        finally:
            call.cancel()

    async def close(self) -> None:
        """Closes the connection, and ends what is under way."""
        await self.channel.close()

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        bearer = ("authorization", self._token.bearer())
        present = call_id()
        return (bearer, (CALL_ID_KEY, present)) if present else (bearer,)


async def prompt(messages: AsyncGenerator[Any, None], peer: str, seconds: float) -> AsyncGenerator[Any, None]:
    """The messages of a stream, each within so many seconds after the one before was taken. Raises PeerUnavailable."""
    try:
        while True:
            try:
                async with asyncio.timeout(seconds):
                    message = await anext(messages)
            except StopAsyncIteration:
                return
            except TimeoutError as silence:
                raise PeerUnavailable(f"a stream of {peer} fell silent", peer=peer) from silence
            yield message
    finally:
        await messages.aclose()


def _options() -> Sequence[tuple[str, Any]]:
    return (
        ("grpc.use_local_subchannel_pool", 1),  # two channels that share a connection and watch its health crash the process (1.76)
        ("grpc.enable_http_proxy", 0),  # a proxy of the environment is for the world outside
        ("grpc.service_config", json.dumps(SERVICE_CONFIG)),  # no retries, but of what no server has seen
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),  # else half a minute: a replica may come back with another address
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),  # also how long one attempt may take
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.keepalive_time_ms", int(KEEPALIVE_SECONDS * 1000)),
        ("grpc.keepalive_timeout_ms", int(KEEPALIVE_PATIENCE_SECONDS * 1000)),
        ("grpc.http2.ping_timeout_ms", int(KEEPALIVE_PATIENCE_SECONDS * 1000)),  # without it: a minute (measured)
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    )
