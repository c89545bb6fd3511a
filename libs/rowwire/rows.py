"""Rows as PostgreSQL sends them: where each cell lies, and what may be wrong with it."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from rowwire.columns import OIDS, SIZES, Column, Fault

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Signature, flags, and the length of an extension that there is not."""
COPY_TRAILER = b"\xff\xff"
NULL = -1
"""The length of a cell without a value."""
_RECORD_HEAD = struct.Struct(">i")
_RECORD_CELL = struct.Struct(">Ii")
_COPY_HEAD = struct.Struct(">h")
_COPY_CELL = struct.Struct(">i")

_SENTENCES: Mapping[Fault, str] = {
    Fault.CUT: "the data end within it",
    Fault.COUNT: "it has not as many columns as the plan",
    Fault.TYPE: "its type is not {type}",
    Fault.LENGTH: "its length is not one of {type}",
    Fault.RANGE: "its value is none that can be written",
    Fault.TEXT: "it is not UTF-8",
}


class Framing(IntEnum):
    """What stands between the values. The numbers are those of `enum framing` in rowwire.c."""

    RECORDS = 0
    """Outputs of `record_send(row)`, one after another. Each value carries the OID of its type."""
    COPY = 1
    """Rows of `COPY ... TO STDOUT (FORMAT binary)` from behind the header; the last one may be incomplete."""


class RowInvalid(ValueError):
    """A row that is damaged, or has a value that its field cannot hold. The message has no value in it."""

    def __init__(self, *, row: int, column: Column | None, fault: Fault) -> None:
        self.row = row
        """Counted from 0, from where the call began."""
        self.column = column
        """None: the whole row is at fault."""
        self.fault = fault
        sentence = _SENTENCES[fault].format(type=column.type.name if column else "")
        super().__init__(f"row {row}{f', column {column.name}' if column else ''}: {sentence}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Finds the cells of rows that all have the same columns."""

    columns: Sequence[Column]
    cells: Sequence[tuple[Column, int, tuple[int, ...]]]
    """The columns with the size of their values (-1: any) and the OIDs of their types."""

    @classmethod
    def of(cls, columns: Sequence[Column]) -> "Layout":
        """Returns the layout of rows with these columns."""
        return cls(columns=columns, cells=[(column, SIZES.get(column.type, -1), OIDS[column.type]) for column in columns])

    def read(
        self, data: bytes, at: int, framing: Framing, row: int = 0, *, cells_max: int | None = None
    ) -> tuple[list[bytes | None], int]:
        """Returns the cells of the row at an offset, or the first so many of them, and where the last of them ends.

        Raises RowInvalid; Fault.CUT where a COPY's row is still incomplete. The order of the checks is that of the compiled
        encoder, so that both name the same fault.
        """
        records = framing is Framing.RECORDS
        head, heading = (_RECORD_HEAD, _RECORD_CELL) if records else (_COPY_HEAD, _COPY_CELL)
        unpack, size_of_heading = heading.unpack_from, heading.size
        end = len(data)
        if end - at < head.size:
            raise RowInvalid(row=row, column=None, fault=Fault.CUT)
        if head.unpack_from(data, at)[0] != len(self.cells):
            raise RowInvalid(row=row, column=None, fault=Fault.COUNT)
        at += head.size
        found: list[bytes | None] = []
        for column, size, oids in self.cells[:cells_max]:
            if end - at < size_of_heading:
                raise RowInvalid(row=row, column=column, fault=Fault.CUT)
            heads = unpack(data, at)
            if records and heads[0] not in oids:
                raise RowInvalid(row=row, column=column, fault=Fault.TYPE)
            length = heads[-1]
            at += size_of_heading
            if length == NULL:
                found.append(None)
                continue
            if length != size and (size >= 0 or length < 0):
                raise RowInvalid(row=row, column=column, fault=Fault.LENGTH)
            if end - at < length:
                raise RowInvalid(row=row, column=column, fault=Fault.CUT)
            found.append(data[at : at + length])
            at += length
        return found, at
