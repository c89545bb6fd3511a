"""Rows as PostgreSQL writes them, from Python's values: written apart from `rowwire`, which reads them."""

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from rowwire import Column, Framing, Type

OIDS: Mapping[Type, int] = {
    Type.UUID: 2950, Type.TEXT: 25, Type.BYTES: 17, Type.BOOL: 16, Type.INT2: 21, Type.INT4: 23, Type.INT8: 20, Type.FLOAT4: 700,
    Type.FLOAT8: 701, Type.TIMESTAMPTZ: 1184, Type.DATE: 1082, Type.TIME: 1083,
}  # fmt: skip
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = b"\xff\xff"


def packed(type: Type, value: Any) -> bytes:
    """A value in PostgreSQL's binary format; bytes are taken as they are, whatever the type."""
    if isinstance(value, bytes):
        return value
    return _PACKED[type](value)


def integer(size: int) -> Callable[[int], bytes]:
    """How an integer of that many bytes is written."""
    return lambda value: value.to_bytes(size, "big", signed=True)


def micros(value: datetime) -> bytes:
    """A timestamptz: microseconds since 2000."""
    return integer(8)((value - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))


def clock(value: time) -> bytes:
    """A time: microseconds since midnight."""
    return integer(8)((value.hour * 3600 + value.minute * 60 + value.second) * 1_000_000 + value.microsecond)


_PACKED: Mapping[Type, Callable[[Any], bytes]] = {
    Type.UUID: lambda value: value.bytes, Type.TEXT: str.encode, Type.BYTES: bytes, Type.BOOL: lambda value: bytes([value]),
    Type.INT2: integer(2), Type.INT4: integer(4), Type.INT8: integer(8), Type.FLOAT4: struct.Struct(">f").pack,
    Type.FLOAT8: struct.Struct(">d").pack, Type.TIMESTAMPTZ: micros, Type.TIME: clock,
    Type.DATE: lambda value: integer(4)((value - date(2000, 1, 1)).days),
}  # fmt: skip


def row(framing: Framing, columns: Sequence[Column], values: Sequence[Any]) -> bytes:
    """A row in either framing; None is NULL."""
    records = framing is Framing.RECORDS
    written = [struct.pack(">i" if records else ">h", len(columns))]
    for column, value in zip(columns, values, strict=True):
        if records:
            written.append(struct.pack(">I", OIDS[column.type]))
        cell = None if value is None else packed(column.type, value)
        written += [struct.pack(">i", -1)] if cell is None else [struct.pack(">i", len(cell)), cell]
    return b"".join(written)


def rows(framing: Framing, columns: Sequence[Column], values: Sequence[Sequence[Any]]) -> bytes:
    """Several of them."""
    return b"".join(row(framing, columns, each) for each in values)
