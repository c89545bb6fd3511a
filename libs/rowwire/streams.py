"""Pages from the output of a COPY as it comes in, cut anywhere."""

import struct
from dataclasses import dataclass

from rowwire.encoders import UNLIMITED, Encoder, Stop
from rowwire.rows import COPY_TRAILER, Framing, RowInvalid

SIGNATURE = b"PGCOPY\n\xff\r\n\0"
ROW_BYTES_MAX = 8 * 1024 * 1024
"""What is kept of an incomplete row."""
_HEADER = struct.Struct(">11sIi")
_FLAGS_CRITICAL = 0xFFFF_0000
"""PostgreSQL: whoever does not know one of these flags cannot read the data."""


class CopyInvalid(ValueError):
    """The data around the rows are not those of a binary COPY, or end too early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some rows as protobuf."""

    body: bytes
    rows: int
    last_row: bytes
    """The last of them as PostgreSQL sent it, for `plan.values(page.last_row, 0, Framing.COPY, ...)`; empty without rows."""
    final: bool
    """Whether nothing comes after it. Only the final page may have no rows."""


class CopyStream:
    """Takes chunks of one COPY in turn, and gives pages. A page is held back until it is known whether another one follows."""

    def __init__(
        self, encoder: Encoder, *, rows_max: int, bytes_max: int = UNLIMITED, row_bytes_max: int = ROW_BYTES_MAX
    ) -> None:  # fmt: skip
        """Takes the limits of a page, and what may be kept of an incomplete row."""
        if rows_max < 1:
            raise ValueError("a page has one row at least")
        self._encoder = encoder
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._row_bytes_max = row_bytes_max
        self._data, self._at = b"", 0
        self._began = self._finished = False
        self._rows_before = 0
        self._start()

    def _start(self) -> None:
        """Begins a page."""
        self._bodies: list[bytes] = []
        self._rows = self._size = 0
        self._last_row = b""

    @property
    def finished(self) -> bool:
        """Whether the final page has been given."""
        return self._finished

    def feed(self, chunk: bytes) -> list[Page]:
        """Returns the pages that are complete with this chunk.

        Raises CopyInvalid, and RowInvalid with the row counted from the beginning of the stream.
        """
        self._data, self._at = self._data[self._at :] + chunk, 0
        if not self._began and not self._begin():
            return []
        pages = list(iter(self._page, None))
        left = len(self._data) - self._at
        if self._finished and left:
            raise CopyInvalid("there are data after the trailer")
        if left > self._row_bytes_max:
            raise CopyInvalid(f"row {self._rows_before + self._rows} has more than {self._row_bytes_max} bytes")
        return pages

    def close(self) -> None:
        """Raises CopyInvalid where the data ended before their trailer: then rows may be missing."""
        if not self._finished:
            raise CopyInvalid(f"the data end after {self._rows_before + self._rows} rows, without a trailer")

    def _begin(self) -> bool:
        """Takes the header off; returns False while it is incomplete."""
        if self._data[: len(SIGNATURE)] != SIGNATURE[: len(self._data)]:
            raise CopyInvalid("this is not the output of COPY in its binary format")
        if len(self._data) < _HEADER.size:
            return False
        _, flags, extension = _HEADER.unpack_from(self._data)
        if flags & _FLAGS_CRITICAL or not 0 <= extension <= self._row_bytes_max:
            raise CopyInvalid("the header asks for what this version does not know")
        self._began = len(self._data) >= _HEADER.size + extension
        if self._began:
            self._at = _HEADER.size + extension
        return self._began

    def _page(self) -> Page | None:
        """Returns the next page, or None where more data are needed."""
        if self._finished:
            return None
        stop = self._encode()
        full = stop is Stop.BYTES or (stop is Stop.ROWS and len(self._data) - self._at >= len(COPY_TRAILER))
        if stop is not Stop.END and not full:
            return None
        self._finished = self._data.startswith(COPY_TRAILER, self._at)
        if self._finished:
            self._at += len(COPY_TRAILER)
        page = Page(body=b"".join(self._bodies), rows=self._rows, last_row=self._last_row, final=self._finished)
        self._rows_before += self._rows
        self._start()
        return page

    def _encode(self) -> Stop:
        """Encodes what there is, up to a full page."""
        try:
            encoded = self._encoder.encode(
                self._data, Framing.COPY, start=self._at, rows_min=0 if self._rows else 1, rows_max=self._rows_max - self._rows,
                bytes_max=max(0, self._bytes_max - self._size),
            )  # fmt: skip
        except RowInvalid as error:
            row = self._rows_before + self._rows + error.row
            raise RowInvalid(row=row, column=error.column, fault=error.fault) from None
        if encoded.last is not None:
            self._last_row = self._data[encoded.last : encoded.consumed]
        self._bodies.append(encoded.body)
        self._rows += encoded.rows
        self._size += len(encoded.body)
        self._at = encoded.consumed
        return encoded.stop
