"""A TCP proxy whose connections break: when it is told to, or after so many bytes of answers."""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

CHUNK_BYTES = 16 * 1024
Pair = tuple[socket.socket, socket.socket]
RESET = struct.pack("ii", 1, 0)


def never() -> int | None:
    """No connection breaks by itself."""
    return None


class Proxy:
    """Leads from a port of its own to another one of this machine."""

    def __init__(self, port: int, allowance: Callable[[], int | None] = never) -> None:
        """`allowance` says for each new connection after how many bytes of answers it breaks; None: never."""
        self._target, self._allowance = port, allowance
        self._lock = threading.Lock()
        self._pairs: set[Pair] = set()
        self._frozen: set[Pair] = set()
        self._threads: list[threading.Thread] = []
        self.cuts = 0
        """How many connections were broken here."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cut(self) -> None:
        """Breaks every connection that there is."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._break(pair, counted=True)

    def freeze(self) -> None:
        """Loses all that comes on the connections that there are, and tells nobody."""
        with self._lock:
            self._frozen |= self._pairs

    def close(self) -> None:
        """Breaks everything, and ends."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._pairs.add((near, far))
            self._start(self._pump, (near, far), near, far, None)
            self._start(self._pump, (near, far), far, near, self._allowance())

    def _pump(self, pair: Pair, source: socket.socket, sink: socket.socket, left: int | None) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                if pair in self._frozen:
                    continue
                sink.sendall(data if left is None else data[:left])
                if left is not None and (left := left - len(data)) <= 0:
                    self._break(pair, counted=True)
                    return
        self._break(pair, counted=False)  # an end went by itself

    def _break(self, pair: Pair, *, counted: bool) -> None:
        """Resets both ends, once."""
        with self._lock:
            if pair not in self._pairs:
                return
            self._pairs.discard(pair)
            self.cuts += counted
        for end in pair:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.shutdown(socket.SHUT_RDWR)  # wakes who reads it
            end.close()
