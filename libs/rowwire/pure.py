"""The encoder in Python: it sets the fields of real messages. It runs everywhere, and says what the compiled one has to write."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf import message_factory
from google.protobuf.message import Message

from rowwire.columns import CellRefused, Column, Fault, boolean, day, floating, integer, micros, micros_of_day, text
from rowwire.encoders import UNLIMITED, Encoded, Stop, check
from rowwire.plans import Plan
from rowwire.rows import COPY_TRAILER, Framing, RowInvalid
from rowwire.tree import Branch, Code, Leaf, Range

UNIX_2000_SECONDS = 946_684_800
VARINT_BITS = 0x7F
"""Of each byte; the other bit says that there are more."""
Setter = Callable[[Message, bytes], None]
Cells = Sequence[bytes | None]
Part = tuple[Setter | None, int, str, Sequence[int], "Sequence[Part]"]
"""A leaf has a setter and a column; a branch has a name, all columns below it, and parts."""


class PureEncoder:
    """As `rowwire.Encoder` says."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._tag = varint(plan.field << 3 | 2)
        self._new = message_factory.GetMessageClass(plan.tree.message)
        self._parts = _parts(plan.tree)

    def encode(
        self,
        data: bytes,
        framing: Framing,
        *,
        start: int = 0,
        rows_min: int = 1,
        rows_max: int = UNLIMITED,
        bytes_max: int = UNLIMITED,
    ) -> Encoded:
        """As `rowwire.Encoder` says."""
        check(data, start, rows_min, rows_max, bytes_max)
        body, rows, at, last = bytearray(), 0, start, None
        while (stop := _stop(data, at, framing, rows >= rows_max)) is None:
            try:
                cells, end = self.plan.layout.read(data, at, framing, rows)
            except RowInvalid as error:
                if error.fault is Fault.CUT and framing is Framing.COPY:
                    stop = Stop.DATA
                    break
                raise
            message = self._new()
            _fill(message, self._parts, cells, self.plan.columns, rows)
            written = message.SerializeToString(deterministic=True)
            row = self._tag + varint(len(written)) + written
            if len(body) + len(row) > bytes_max and rows >= rows_min:
                stop = Stop.BYTES
                break
            body += row
            rows, last, at = rows + 1, at, end
        return Encoded(body=bytes(body), rows=rows, consumed=at, last=last, stop=stop)


def _stop(data: bytes, at: int, framing: Framing, enough: bool) -> Stop | None:  # noqa: FBT001  # its only caller is above
    if enough:
        return Stop.ROWS
    if at == len(data):
        return Stop.DATA
    if framing is Framing.COPY and data.startswith(COPY_TRAILER, at):
        return Stop.END
    return None


def _fill(message: Any, parts: Sequence[Part], cells: Cells, columns: Sequence[Column], row: int) -> None:
    for setter, index, name, below, inner in parts:
        if setter is None:
            if any(cells[each] is not None for each in below):
                part = getattr(message, name)
                part.SetInParent()
                _fill(part, inner, cells, columns, row)
        elif (cell := cells[index]) is not None:
            try:
                setter(message, cell)
            except CellRefused as refused:
                raise RowInvalid(row=row, column=columns[index], fault=refused.fault) from None


def _parts(branch: Branch) -> Sequence[Part]:
    """Returns what `_fill` does for a message, in the order of its fields, so that the first fault is that of the compiled encoder."""
    parts: list[Part] = []
    for part in branch.in_order():
        if isinstance(part, Leaf):
            parts.append((_setter(part), part.column, part.descriptor.name, (), ()))
        elif part.descriptor is not None:
            parts.append((None, 0, part.descriptor.name, tuple(part.columns()), _parts(part)))
    return parts


def _setter(leaf: Leaf) -> Setter:
    """Returns what sets a field. Fields without presence that are set to their default are not written by protobuf itself."""
    name = leaf.descriptor.name
    if leaf.code in _MESSAGES:
        fill = _MESSAGES[leaf.code]

        def set_message(message: Message, cell: bytes) -> None:
            part = getattr(message, name)
            part.SetInParent()
            fill(part, cell)

        return set_message
    read = _ranged(*_RANGES[leaf.range]) if leaf.code in _INTEGERS else _READERS[leaf.code]

    def set_scalar(message: Message, cell: bytes) -> None:
        setattr(message, name, read(cell))

    return set_scalar


def _ranged(first: int, last: int) -> Callable[[bytes], int]:
    def read(cell: bytes) -> int:
        value = integer(cell)
        if not first <= value <= last:
            raise CellRefused(Fault.RANGE)
        return value

    return read


def _uuid(cell: bytes) -> str:
    digits = cell.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _decimal(cell: bytes) -> str:
    return str(integer(cell))


def _floating(cell: bytes) -> float:
    """Returns one and the same NaN for all."""
    value = floating(cell)
    return math.nan if math.isnan(value) else value


def _fill_timestamp(message: Any, cell: bytes) -> None:
    seconds, rest = divmod(micros(cell), 1_000_000)
    message.seconds, message.nanos = seconds + UNIX_2000_SECONDS, rest * 1_000


def _fill_date(message: Any, cell: bytes) -> None:
    value = day(cell)
    message.year, message.month, message.day = value.year, value.month, value.day


def _fill_time(message: Any, cell: bytes) -> None:
    seconds, rest = divmod(micros_of_day(cell), 1_000_000)
    message.hours, message.minutes, message.seconds, message.nanos = seconds // 3600, seconds // 60 % 60, seconds % 60, rest * 1_000


_INTEGERS = {Code.VARINT, Code.ZIGZAG, Code.FIXED32, Code.FIXED64}
_RANGES = {
    Range.INT64: (-(2**63), 2**63 - 1), Range.INT32: (-(2**31), 2**31 - 1), Range.UINT32: (0, 2**32 - 1), Range.UNSIGNED: (0, 2**63 - 1),
}  # fmt: skip
_MESSAGES: Mapping[Code, Callable[[Any, bytes], None]] = {
    Code.TIMESTAMP: _fill_timestamp, Code.DATE: _fill_date, Code.TIME: _fill_time,
}  # fmt: skip
_READERS: Mapping[Code, Callable[[bytes], Any]] = {
    Code.DECIMAL: _decimal, Code.BOOL: boolean, Code.FLOAT: _floating, Code.DOUBLE: _floating, Code.TEXT: text, Code.BYTES: bytes,
    Code.UUID: _uuid,
}  # fmt: skip


def varint(value: int) -> bytes:
    """Returns the shortest varint of a number that is not negative."""
    written = bytearray()
    while value > VARINT_BITS:
        written.append(value & VARINT_BITS | ~VARINT_BITS & 0xFF)
        value >>= 7
    written.append(value)
    return bytes(written)
