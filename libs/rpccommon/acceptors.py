"""Where calls come in: several gRPC servers that share one port.

grpc.aio takes on one call of a server at a time, which takes two turns of the event loop. Under load a turn is long, and calls wait in
gRPC, where nobody can refuse them: at three times what a process can do, all work went into calls whose callers had given up.
"""

import asyncio
import contextlib
import errno
import hashlib
import socket
import sys

import grpc

from rpccommon.client import KEEPALIVE_SECONDS, MESSAGE_BYTES_MAX
from rpccommon.listening import CannotListen, host_and_port
from tls import Tls

ACCEPTORS = 16
"""As many as reads and writes that are under way at once (`places.Limits`). The kernel spreads connections over them: who has one
connection has one acceptor."""
CALLS_OF_CONNECTION_MAX = 100
"""Further calls of a connection wait at its client: no connection takes all places of the process, or much of its memory."""
UNREQUESTED_SECONDS = 5
"""A call that nobody has taken on for so long is dropped, for its caller CANCELLED. gRPC keeps calls whose callers have given up, too:
for 30 s, if nothing is said."""
OPTIONS = (
    ("grpc.so_reuseport", 1),
    ("grpc.server_max_unrequested_time_in_server", UNREQUESTED_SECONDS),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # none: else a compressed request grows a thousandfold before it is refused
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_concurrent_streams", CALLS_OF_CONNECTION_MAX),
    ("grpc.http.overload_protection", 0),  # it refuses streams that a client may open, while it still counts those that are over
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", int(KEEPALIVE_SECONDS * 800)),  # below what our clients send
    ("grpc.keepalive_permit_without_calls", 1),  # else a quiet connection may be looked after every two hours only, and is closed
)


class Acceptors:
    """The servers of one port, with the same handlers. The kernel gives each connection to one of them."""

    def __init__(self, handlers: grpc.GenericRpcHandler, *, message_bytes_max: int) -> None:
        """Listens not yet; requests have so many bytes at most."""
        options = [*OPTIONS, ("grpc.max_receive_message_length", message_bytes_max)]
        self._claim: socket.socket | None = None
        self._servers = [grpc.aio.server(options=options) for _ in range(ACCEPTORS)]
        for server in self._servers:
            server.add_generic_rpc_handlers((handlers,))

    async def listen(self, address: str, tls: Tls | None) -> int:
        """Listens at `host:port`; the port, where 0 is any. Raises CannotListen."""
        host, port = host_and_port(address)
        _refuse_taken(host, port)
        self._claim = _claimed(host, port)
        written = f"[{host}]" if ":" in host else host
        for server in self._servers:
            try:
                port = _bind(server, f"{written}:{port}", tls)
            except RuntimeError as error:
                self._release()
                raise CannotListen(f"cannot listen on {address}: the port is taken, or is not ours") from error
        await asyncio.gather(*(server.start() for server in self._servers))
        return port

    async def stop(self, grace_seconds: float) -> None:
        """Takes on nothing more, and ends what is left after so long."""
        self._release()
        await asyncio.gather(*(server.stop(grace_seconds) for server in self._servers))

    def _release(self) -> None:
        if self._claim is not None:
            self._claim.close()
            self._claim = None


def _bind(server: grpc.aio.Server, address: str, tls: Tls | None) -> int:
    if tls is None:
        return server.add_insecure_port(address)
    pair = (tls.key, tls.certificate)
    return server.add_secure_port(address, grpc.ssl_server_credentials([pair], tls.ca, require_client_auth=True))


def _claimed(host: str, port: int) -> socket.socket | None:
    """Claims a port against another process that looks for it in the same moment: of those that share a port, both would have it.

    A name that the kernel forgets with the process; other systems than Linux have none. Raises CannotListen.
    """
    if sys.platform != "linux" or not port:
        return None
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0teppan {hashlib.sha256(host.encode()).hexdigest()[:32]} {port}")
    except OSError as error:
        claim.close()
        raise CannotListen(f"cannot listen on {host}:{port}: the port is taken, or is not ours") from error
    return claim


def _refuse_taken(host: str, port: int) -> None:
    """Raises CannotListen where another process listens on the port. SO_REUSEPORT would otherwise let both have it.

    What else may be wrong with an address gRPC says, which knows how to do without IPv6.
    """
    with contextlib.suppress(socket.gaierror):
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
            try:
                with socket.socket(family, kind, protocol) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what is being closed is in nobody's way
                    probe.bind(address)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise CannotListen(f"cannot listen on {host}:{port}: the port is taken, or is not ours") from error
