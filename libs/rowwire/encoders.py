"""What an encoder takes, and what it answers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import IntEnum

from rowwire.plans import Plan
from rowwire.rows import Framing

UNLIMITED = 2**63 - 1


class Stop(IntEnum):
    """Why an encoder stopped. The numbers are those of `enum status` in rowwire.c."""

    DATA = 0
    """The data are at an end, or what is left of a COPY is not a whole row."""
    ROWS = 1
    """There are as many rows as were asked for."""
    BYTES = 2
    """The next row would exceed the bytes that were asked for."""
    END = 3
    """The trailer of a COPY comes next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Rows as protobuf. Offsets are from the beginning of the data, not from `start`."""

    body: bytes
    """The repeated field: what other fields of the page serialise to can be put before or behind it."""
    rows: int
    consumed: int
    """Where the next row begins."""
    last: int | None
    """Where the last of the rows begins, for `Plan.values`; None without rows."""
    stop: Stop


class Encoder(ABC):
    """Turns rows into the bytes of a page. It keeps no state between calls: threads may share it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        """What becomes of each column."""

    def encode(
        self, data: bytes, framing: Framing, *, start: int = 0, rows_min: int = 1, rows_max: int = UNLIMITED, bytes_max: int = UNLIMITED
    ) -> Encoded:  # fmt: skip
        """Encodes rows from an offset on, and stops before the row that would make the body exceed `bytes_max`.

        `rows_min` rows are encoded whatever their size: with 1, a caller always gets on. Raises RowInvalid for a row that is
        damaged or has a value that its field cannot hold; then there is no body.
        """
        if not isinstance(data, bytes):
            raise TypeError(f"rows are bytes, not {type(data).__name__}")
        if not 0 <= start <= len(data):
            raise ValueError(f"there is no offset {start} in {len(data)} bytes")
        if not all(0 <= limit <= UNLIMITED for limit in (rows_min, rows_max, bytes_max)):
            raise ValueError(f"limits are from 0 to {UNLIMITED}")
        return self._encode(data, framing, start, rows_min, rows_max, bytes_max)

    @abstractmethod
    def _encode(self, data: bytes, framing: Framing, start: int, rows_min: int, rows_max: int, bytes_max: int) -> Encoded:
        """Encodes, once the arguments are checked."""
