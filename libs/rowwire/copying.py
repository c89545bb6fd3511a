"""The rows of a COPY, read off a connection's socket by C: without the interpreter's lock, and without an object for each chunk."""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from rowwire.rows import COPY_HEADER

BUFFER_BYTES = 768 * 1024
"""What a call begins with: a batch of lists fits. What needs more grows by doubling."""
BUFFERS_KEPT = 2


class CopyFailed(Exception):
    """PostgreSQL refused. The connection is not of use any more, since what comes next on it was not read."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = fields
        """Of its ErrorResponse, by their letters: C is the SQLSTATE, M the message."""
        super().__init__(f"COPY failed, SQLSTATE {fields.get('C', 'unknown')}")


class ConnectionBroke(Exception):
    """The connection ended, or what came is not what PostgreSQL sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """The output of a COPY in binary format, header and trailer included."""

    data: bytes
    rows: int | None
    """None where nobody counted."""
    before_last: int | None
    """Where the row before the last begins, where rows were counted and there is one."""


class _Status(IntEnum):
    """Why a call ended. The numbers are those of `enum status` in copying.c."""

    READY = 0
    MORE_ROOM = 1
    CLOSED = 2
    FAILED = 3
    BROKEN = 4


class _Copying(ctypes.Structure):
    """`copying` in copying.c."""

    _fields_ = (
        ("sent", ctypes.c_int64), ("size", ctypes.c_int64), ("at", ctypes.c_int64), ("end", ctypes.c_int64),
        ("messages", ctypes.c_int64), ("starts", ctypes.c_int64 * 3),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What `CopyReader.read` leaves for `copied`."""

    buffer: "ctypes.Array[ctypes.c_char]"
    state: _Copying


class CopyReader:
    """Keeps no state between calls but buffers: threads may share it."""

    def __init__(self, functions: ctypes.CDLL) -> None:
        """Takes the functions that `load_built` has loaded."""
        self._call = functions.rowwire_copy
        self._buffers: list[ctypes.Array[ctypes.c_char]] = []

    def read(self, socket: int, query: str) -> Gathered:
        """Runs `COPY (query) TO STDOUT` on the socket of a connection that is idle and not encrypted, and that nobody else reads.

        It blocks, without the interpreter's lock; shut the socket down to end it. Raises CopyFailed and ConnectionBroke.
        """
        text = f"COPY ({query}) TO STDOUT (FORMAT binary)".encode() + b"\0"
        message = b"Q" + (len(text) + 4).to_bytes(4, "big") + text
        state = _Copying()
        try:
            buffer = self._buffers.pop()
        except IndexError:
            buffer = ctypes.create_string_buffer(BUFFER_BYTES)
        while (status := self._call(socket, message, len(message), buffer, len(buffer), ctypes.byref(state))) == _Status.MORE_ROOM:
            larger = ctypes.create_string_buffer(2 * len(buffer))
            ctypes.memmove(larger, buffer, state.end)
            buffer = larger
        if status == _Status.FAILED:
            raise CopyFailed(_fields(ctypes.string_at(ctypes.addressof(buffer) + state.at, state.end - state.at)))
        if status != _Status.READY:
            raise ConnectionBroke(_Status(status).name)
        return Gathered(buffer=buffer, state=state)

    def copied(self, gathered: Gathered) -> Copied:
        """Takes over what `read` returned: in the thread that will let it go, else the process grows."""
        data = ctypes.string_at(gathered.buffer, gathered.state.size)
        if len(gathered.buffer) == BUFFER_BYTES and len(self._buffers) < BUFFERS_KEPT:
            self._buffers.append(gathered.buffer)
        rows = gathered.state.messages - 1  # the header comes with the first row, the trailer by itself
        before_last = (gathered.state.starts[2] or len(COPY_HEADER)) if rows > 1 else None
        return Copied(data=data, rows=rows, before_last=before_last)


def _fields(message: bytes) -> dict[str, str]:
    """Of an ErrorResponse: a letter and a string for each, until an empty one."""
    size = int.from_bytes(message[1:5], "big")
    fields = message[5 : 1 + size].split(b"\0")
    return {field[:1].decode("ascii", "replace"): field[1:].decode("utf-8", "replace") for field in fields if field}
