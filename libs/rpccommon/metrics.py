"""Metrics for Prometheus, over HTTP or, with TLS, over HTTPS for holders of a certificate of the same authority."""

import socket
import ssl
import sys
import threading
from collections.abc import Callable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from rpccommon.listening import CannotListen, host_and_port
from tls import Tls

CONNECTIONS_MAX = 32
PATIENCE_SECONDS = 10.0
"""Who connects and says nothing is let go, and keeps nobody else out meanwhile."""
STOP_POLL_SECONDS = 0.1
"""It looks this often whether it shall stop; half a second, as the library has it, is half a second of every restart."""

log = structlog.get_logger()


def serve(registry: CollectorRegistry, listen: str, tls: Tls | None = None) -> Callable[[], None]:
    """Serves at `host:port`, in threads; what it gives stops it, and waits for that. Raises CannotListen."""
    host, port = host_and_port(listen)
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        server = _Server(family, address[:2], tls)
    except OSError as error:
        raise CannotListen(f"metrics: cannot listen on {listen}: {error.strerror}") from error
    server.set_app(make_wsgi_app(registry))
    thread = threading.Thread(target=server.serve_forever, args=(STOP_POLL_SECONDS,), name="metrics", daemon=True)
    thread.start()

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return close


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a connection, so many at once. Each thread does its own handshake: the one that accepts never waits."""

    daemon_threads = True

    def __init__(self, family: int, address: Any, tls: Tls | None) -> None:
        self.address_family = family
        self._context = None if tls is None else _context(tls)
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[Any, Any]:
        connection, peer = super().get_request()
        connection.settimeout(PATIENCE_SECONDS)
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, peer

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.warning("a reader of metrics was let go", peer=str(client_address), why=repr(sys.exc_info()[1]))


class _Handler(WSGIRequestHandler):
    """Logs no requests."""

    def log_message(self, format: str, *args: Any) -> None:
        """They are not worth a line."""


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tls.ca_file))
    context.load_cert_chain(tls.certificate_file, tls.key_file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
