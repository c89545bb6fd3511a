"""Columns of a row: their types in PostgreSQL, and how a value of each is read."""

import struct
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum, IntEnum
from typing import Any

MICROS_FIRST = -63_082_281_600_000_000
MICROS_LAST = 252_455_615_999_999_999
"""The years 1 to 9999, which Timestamp and datetime have, in microseconds since 2000. Infinity is outside of them."""
DAYS_FIRST = -730_119
DAYS_LAST = 2_921_939
"""The same years in days since 2000."""
MICROS_DAY = 86_400_000_000
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()


class Type(IntEnum):
    """A type in PostgreSQL. The numbers are those of `enum type` in rowwire.c."""

    UUID = 0
    TEXT = 1
    """Also varchar and char(n)."""
    BYTES = 2
    BOOL = 3
    INT2 = 4
    INT4 = 5
    INT8 = 6
    FLOAT4 = 7
    FLOAT8 = 8
    TIMESTAMPTZ = 9
    DATE = 10
    TIME = 11


SIZES: Mapping[Type, int] = {
    Type.UUID: 16, Type.BOOL: 1, Type.INT2: 2, Type.INT4: 4, Type.INT8: 8, Type.FLOAT4: 4, Type.FLOAT8: 8, Type.TIMESTAMPTZ: 8,
    Type.DATE: 4, Type.TIME: 8,
}  # fmt: skip
"""Bytes of a value, where all values of the type have as many."""
OIDS: Mapping[Type, tuple[int, ...]] = {
    Type.UUID: (2950,), Type.TEXT: (25, 1043, 1042), Type.BYTES: (17,), Type.BOOL: (16,), Type.INT2: (21,), Type.INT4: (23,),
    Type.INT8: (20,), Type.FLOAT4: (700,), Type.FLOAT8: (701,), Type.TIMESTAMPTZ: (1184,), Type.DATE: (1082,), Type.TIME: (1083,),
}  # fmt: skip
"""What `record_send` calls each type. They are fixed in the catalog of every PostgreSQL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of every row, in the order of the query."""

    name: str
    type: Type
    field: str | None = None
    """The path of the field in the message: `start_time`, `guests.adults`. None: the column is not written."""


class Fault(Enum):
    """What is wrong with a row. The numbers are those of `enum status` in rowwire.c."""

    CUT = 6
    COUNT = 7
    TYPE = 8
    LENGTH = 9
    RANGE = 10
    TEXT = 11


class CellRefused(Exception):
    """A single value cannot be taken. The reader of the row adds which one it is."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def integer(cell: bytes) -> int:
    """Returns an int2, int4 or int8."""
    return int.from_bytes(cell, "big", signed=True)


def boolean(cell: bytes) -> bool:
    """Returns a bool; raises CellRefused for a byte that is none."""
    if cell[0] > 1:
        raise CellRefused(Fault.RANGE)
    return cell[0] == 1


def text(cell: bytes) -> str:
    """Returns a text; raises CellRefused where it is not UTF-8."""
    try:
        return cell.decode()
    except UnicodeDecodeError:
        raise CellRefused(Fault.TEXT) from None


def floating(cell: bytes) -> float:
    """Returns a float4 or float8."""
    value: float = struct.unpack(">f" if len(cell) == SIZES[Type.FLOAT4] else ">d", cell)[0]
    return value


def micros(cell: bytes) -> int:
    """Returns microseconds since 2000; raises CellRefused outside of the years 1 to 9999."""
    value = int.from_bytes(cell, "big", signed=True)
    if not MICROS_FIRST <= value <= MICROS_LAST:
        raise CellRefused(Fault.RANGE)
    return value


def day(cell: bytes) -> date:
    """Returns a date; raises CellRefused outside of the years 1 to 9999."""
    return date.fromordinal(_EPOCH_DAY + _within(integer(cell), DAYS_FIRST, DAYS_LAST))


def micros_of_day(cell: bytes) -> int:
    """Returns microseconds since midnight, up to those of 24:00:00; raises CellRefused for others."""
    return _within(integer(cell), 0, MICROS_DAY)


def _within(value: int, first: int, last: int) -> int:
    if not first <= value <= last:
        raise CellRefused(Fault.RANGE)
    return value


def _instant(cell: bytes) -> datetime:
    return _EPOCH + timedelta(microseconds=micros(cell))


def _time(cell: bytes) -> time:
    """Raises CellRefused also for 24:00:00, which Python does not have."""
    since = _within(integer(cell), 0, MICROS_DAY - 1)
    seconds, rest = divmod(since, 1_000_000)
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60, rest)


def _uuid(cell: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=cell)


VALUES: Mapping[Type, Callable[[bytes], Any]] = {
    Type.UUID: _uuid, Type.TEXT: text, Type.BYTES: bytes, Type.BOOL: boolean, Type.INT2: integer, Type.INT4: integer,
    Type.INT8: integer, Type.FLOAT4: floating, Type.FLOAT8: floating, Type.TIMESTAMPTZ: _instant, Type.DATE: day, Type.TIME: _time,
}  # fmt: skip
"""How a value of each type becomes one of Python. All of them may raise CellRefused."""
