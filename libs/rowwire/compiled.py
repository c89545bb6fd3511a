"""The encoder in C, called without the interpreter's lock."""

import ctypes

from rowwire.columns import Fault
from rowwire.encoders import Encoded, Encoder, Stop
from rowwire.loading import Progress
from rowwire.plans import Plan
from rowwire.rows import Framing, RowInvalid

ROOM = 4
BAD_CALL = 5
"""Of `enum status` in rowwire.c; the others are those of Stop and Fault."""
BUFFER_BYTES_MIN = 64 * 1024
BUFFER_BYTES_GUESSED = 1024 * 1024
"""The most that a call begins with; what needs more grows by doubling."""
BUFFER_BYTES_KEPT = 4 * 1024 * 1024
"""A larger buffer is given back after its call."""
BUFFERS_KEPT = 4
"""As many threads can encode at once without new buffers."""
ROOM_AHEAD_BYTES = 4 * 1024
"""For the row that exceeds the page, which is written before that is known."""


class CompiledEncoder(Encoder):
    """As `rowwire.Encoder` says."""

    def __init__(self, plan: Plan, functions: ctypes.CDLL) -> None:
        """Takes the functions that `load_built` has loaded."""
        super().__init__(plan)
        self._call = functions.rowwire_encode
        self._words = (ctypes.c_int32 * len(plan.words))(*plan.words)
        self._buffers: list[ctypes.Array[ctypes.c_char]] = []

    def _encode(self, data: bytes, framing: Framing, start: int, rows_min: int, rows_max: int, bytes_max: int) -> Encoded:
        progress = Progress(end=start)
        buffer = self._buffer(min(len(data) - start, bytes_max, BUFFER_BYTES_GUESSED) + ROOM_AHEAD_BYTES)
        while True:
            status = self._call(
                self._words, len(self._words), framing, data, len(data), buffer, len(buffer), rows_min, rows_max, bytes_max,
                ctypes.byref(progress),
            )  # fmt: skip
            if status != ROOM:
                break
            larger = ctypes.create_string_buffer(2 * len(buffer))
            ctypes.memmove(larger, buffer, progress.size)
            buffer = larger
        body = ctypes.string_at(buffer, progress.size)
        if len(buffer) <= BUFFER_BYTES_KEPT and len(self._buffers) < BUFFERS_KEPT:
            self._buffers.append(buffer)
        if status == BAD_CALL:
            raise RuntimeError("the compiled encoder does not take this plan: it is of another version")
        if status > BAD_CALL:
            column = self.plan.columns[progress.column] if progress.column >= 0 else None
            raise RowInvalid(row=progress.rows, column=column, fault=Fault(status))
        last = progress.last if progress.rows else None
        return Encoded(body=body, rows=progress.rows, consumed=progress.end, last=last, stop=Stop(status))

    def _buffer(self, size: int) -> "ctypes.Array[ctypes.c_char]":
        """Returns a buffer that no other call has: a kept one if it is large enough. Taking it off a list is one step for threads."""
        try:
            buffer = self._buffers.pop()
        except IndexError:
            buffer = None
        if buffer is None or len(buffer) < size:
            return ctypes.create_string_buffer(max(size, BUFFER_BYTES_MIN))
        return buffer
