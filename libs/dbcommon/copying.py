"""COPY on a connection of the pool: for many rows at once, as PostgreSQL sends them."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import asyncpg

from faults import DatabaseUnavailable
from rowwire import ConnectionBroke, Copied, CopyFailed, CopyReader

AT_ONCE = 2
"""More would be no faster, and would hold connections and buffers that other calls need."""
END_SECONDS = 0.1
"""How long who is cancelled waits for the end of a COPY: that reads about a MiB, and is not cancelled itself."""
Result = TypeVar("Result")


class Copies:
    """Runs COPY, each in a thread where there is a reader in C, else by asyncpg, which takes twice the time of a processor."""

    def __init__(self, reader: CopyReader | None) -> None:
        """Without a reader in C all is read by asyncpg."""
        self._reader = reader
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="copy")
        self.places = asyncio.Semaphore(AT_ONCE)
        """For whoever copies; one is taken before a connection is."""

    async def copied(self, connection: Any, query: str) -> Copied:
        """Returns the rows of a query; after an exception the connection is broken, unless whoever is cancelled saw the end come.

        Raises what asyncpg does, and DatabaseUnavailable.
        """
        reader, transport = self._reader, connection._transport  # noqa: SLF001  # its socket is asyncpg's only way to learn anything
        if reader is None or transport.get_extra_info("ssl_object") is not None:
            return await _by_asyncpg(connection, query)
        transport.pause_reading()
        own = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        try:
            reading = asyncio.get_running_loop().run_in_executor(self._threads, reader.read, own.fileno(), query)
            # Not before the thread has done with it: were the descriptor given to somebody else, their bytes would be read.
            reading.add_done_callback(lambda _: own.close())
            return reader.copied(await _to_its_end(reading, lambda: _cut(own, connection)))
        except CopyFailed as error:
            raise asyncpg.PostgresError.new(error.fields, query=query) from None
        except ConnectionBroke:
            raise DatabaseUnavailable("the connection to the database broke") from None
        finally:
            if not connection.is_closed():
                transport.resume_reading()


def _cut(own: socket.socket, connection: Any) -> None:
    """The thread that reads has a descriptor of its own, so closing the connection alone would not end it."""
    with contextlib.suppress(OSError):  # the server is gone, or the thread has come to its end
        own.shutdown(socket.SHUT_RDWR)
    connection.terminate()


async def _by_asyncpg(connection: Any, query: str) -> Copied:
    chunks: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        chunks.append(chunk)

    copying = asyncio.ensure_future(connection.copy_from_query(query, output=keep, format="binary"))
    await _to_its_end(copying, connection.terminate)
    return Copied(data=b"".join(chunks), rows=None, before_last=None)


async def _to_its_end(copying: "asyncio.Future[Result]", cut: Callable[[], None]) -> Result:
    """Waits for a COPY; who is cancelled meanwhile waits for its end, and where that is not a good one, or not soon, cuts the connection.

    asyncpg 0.32 cannot cancel one: the rows that still come find nobody, and its protocol breaks.
    """
    try:
        return await asyncio.shield(copying)
    except asyncio.CancelledError:
        await asyncio.wait({copying}, timeout=END_SECONDS)
        if not copying.done() or copying.exception() is not None:
            cut()
            await asyncio.wait({copying})
            copying.exception()  # it was seen
        raise
    except GeneratorExit:
        cut()
        raise
