"""COPY on a connection of the pool: for many rows at once, as PostgreSQL sends them."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import asyncpg
from asyncpg import connect_utils

from faults import DatabaseUnavailable
from rowwire import ConnectionBroke, Copied, CopyFailed, CopyReader

AT_ONCE = 2
"""More would be no faster, and would hold connections and buffers that other calls need."""
END_SECONDS = 0.1
"""How long who is cancelled waits for the end of a COPY, which as a rule takes a few milliseconds more."""
CANCEL_SECONDS = 5.0
Result = TypeVar("Result")


class Copies:
    """Runs COPY, each in a thread where there is a reader in C, else by asyncpg, which takes twice the time of a processor."""

    def __init__(self, reader: CopyReader | None) -> None:
        """Without a reader in C all is read by asyncpg."""
        self._reader = reader
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="copy")
        self._cancelling: set[asyncio.Task[None]] = set()
        self.places = asyncio.Semaphore(AT_ONCE)
        """For whoever copies; one is taken before a connection is."""

    async def copied(self, connection: Any, query: str) -> Copied:
        """Returns the rows of a query.

        After an exception the connection must not be used again, except after a cancellation during which the COPY ended well:
        then it is not closed. Raises what asyncpg does, and DatabaseUnavailable.
        """
        reader, transport = self._reader, connection._transport  # noqa: SLF001  # its socket is asyncpg's only way to learn anything
        if reader is None or transport.get_extra_info("ssl_object") is not None:
            return await self._by_asyncpg(connection, query)
        transport.pause_reading()
        own = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        try:
            reading = asyncio.get_running_loop().run_in_executor(self._threads, reader.read, own.fileno(), query)
            # Not before the thread has done with it: were the descriptor given to somebody else, their bytes would be read.
            reading.add_done_callback(lambda _: own.close())
            return reader.copied(await self._to_its_end(reading, connection, lambda: _shut(own)))
        except CopyFailed as error:
            raise asyncpg.PostgresError.new(error.fields, query=query) from None
        except ConnectionBroke:
            raise DatabaseUnavailable("the connection to the database broke") from None
        finally:
            if not connection.is_closed():
                transport.resume_reading()

    async def _by_asyncpg(self, connection: Any, query: str) -> Copied:
        chunks: list[bytes] = []

        async def keep(chunk: bytes) -> None:
            chunks.append(chunk)

        copying = asyncio.ensure_future(connection.copy_from_query(query, output=keep, format="binary"))
        await self._to_its_end(copying, connection, lambda: None)
        return Copied(data=b"".join(chunks), rows=None, before_last=None)

    async def _to_its_end(self, copying: "asyncio.Future[Result]", connection: Any, shut: Callable[[], None]) -> Result:
        """Waits for a COPY. Whoever is cancelled meanwhile waits for END_SECONDS more.

        If it has not ended well by then, it is cancelled and the connection is closed: asyncpg 0.32 cannot go on with one, whose rows
        still come. Whatever happens here, a second cancellation too, no connection stays open on which an answer is still to come.
        """
        try:
            return await asyncio.shield(copying)
        except asyncio.CancelledError:
            await asyncio.wait({copying}, timeout=END_SECONDS)
            raise
        finally:
            copying.add_done_callback(_seen)
            if not copying.done() or copying.cancelled() or copying.exception() is not None:
                if not copying.done():
                    self._cancel(connection)
                shut()
                connection.terminate()

    def _cancel(self, connection: Any) -> None:
        """Asks the server to cancel: one that waits for a lock does not notice that its client is gone."""
        protocol = connection._protocol  # noqa: SLF001  # terminate() forgets it
        if protocol is None:
            return
        with contextlib.suppress(RuntimeError):  # there is no loop any more
            task = asyncio.get_running_loop().create_task(_cancelled(connection, protocol))
            self._cancelling.add(task)
            task.add_done_callback(self._cancelling.discard)


async def _cancelled(connection: Any, protocol: Any) -> None:
    """As asyncpg does it for statements. Where nobody answers, the server is gone, or will find out."""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(CANCEL_SECONDS):
            await connect_utils._cancel(  # noqa: SLF001  # there is no other way to cancel a COPY
                loop=asyncio.get_running_loop(), addr=connection._addr, params=connection._params,  # noqa: SLF001
                backend_pid=protocol.backend_pid, backend_secret=protocol.backend_secret,
            )  # fmt: skip


def _shut(own: socket.socket) -> None:
    """The thread that reads has a descriptor of its own, so closing the connection alone would not end it."""
    with contextlib.suppress(OSError):  # the server is gone, or the thread has come to its end
        own.shutdown(socket.SHUT_RDWR)


def _seen(copying: "asyncio.Future[Any]") -> None:
    if not copying.cancelled():
        copying.exception()
