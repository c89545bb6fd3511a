"""Lists by keyset, as bytes: rows go from Postgres' binary format into messages without an object for each.

The first page is one statement, and is out before anything else is read. What follows comes by COPY, in batches of whole pages, of 640 KiB
at most where a page is not larger. While a reader outruns the database, the next batch is read while one is being sent. So a stream holds two batches, one connection only while a
batch is read, and no transaction. Every page ends at its own key: it does not matter in which batch it came.
"""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

from dbcommon.database import Database
from dbcommon.keyset import Key, Keyset
from pages import PAGE_BYTES_MAX
from rowwire import COPY_HEADER, COPY_TRAILER, Encoder, Framing

BATCH_BYTES = 640 * 1024
BATCH_ROWS_MAX = 8_000
WAITS_A_PAGE = 8
"""So many batches in a row have to be waited for before they grow by a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPage:
    """A page, ready to be sent but for its token."""

    body: bytes
    """The repeated field of its rows, serialised."""
    next: Key | None
    """Where the next page begins; None on the last page of the data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Rows as Postgres sent them: so many at most, and one more where there are more."""

    data: bytes
    framing: Framing
    rows: int
    end: Key | None = None
    """Of a COPY, where the next batch begins; None where there is none."""


async def encoded(database: Database, keyset: Keyset, encoder: Encoder, *, pages_max: int = 0) -> AsyncGenerator[EncodedPage, None]:
    """The pages of a list to its end, or so many of them; 0 is no limit. A page has `keyset.page_size` rows, or 1 MiB."""
    reading, sent, limit = _Reading(database, keyset, encoder), 0, pages_max or sys.maxsize
    made = await reading.first()
    try:
        while True:
            end, size = made[-1].next, max(len(page.body) for page in made)
            while made:
                sent += 1
                yield made.popleft()
                if sent == limit:
                    return
            if end is None:
                return
            made = await reading.following(end, size, limit - sent)
    finally:
        await reading.stop()


class _Reading:
    """Reads one batch after another: the next one while pages of this one are being sent."""

    def __init__(self, database: Database, keyset: Keyset, encoder: Encoder) -> None:
        self._database, self._keyset, self._encoder = database, keyset, encoder
        self._waits = 0
        """Batches in a row that the reader had to wait for. Larger ones follow; after one that lay ready, none is read ahead."""
        self._coming: asyncio.Task[_Batch] | None = None

    async def first(self) -> deque[EncodedPage]:
        """The first page, in one statement; it may be several, by their size."""
        body, parameters = self._keyset.statement()
        data = await self._database.records(body, *parameters, tenant=self._keyset.tenant)
        return deque(_pages(_Batch(data=data, framing=Framing.RECORDS, rows=self._keyset.page_size), self._keyset, self._encoder))

    async def following(self, after: Key, page_bytes: int, pages_max: int) -> deque[EncodedPage]:
        """The pages of the batch after a key; begins to read the one after it, if more pages than these are wanted."""
        coming = self._coming or await self._begin(after, page_bytes, pages_max)
        self._waits = 0 if coming.done() else self._waits + 1
        batch, self._coming = await coming, None
        pages_max -= batch.rows // self._keyset.page_size
        if batch.end is not None and pages_max > 0 and self._waits:
            await self._begin(batch.end, page_bytes, pages_max)
        made: deque[EncodedPage] = deque()
        for page in _pages(batch, self._keyset, self._encoder):
            made.append(page)
            await asyncio.sleep(0)  # others have their turn
        return made

    async def stop(self) -> None:
        """Ends what was begun."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait({self._coming})

    async def _begin(self, after: Key, page_bytes: int, pages_max: int) -> "asyncio.Task[_Batch]":
        """Begins to read the batch after a key: as many whole pages as fit, judged by the size of one."""
        fitting = min(BATCH_BYTES // max(1, page_bytes), BATCH_ROWS_MAX // self._keyset.page_size)
        pages = max(1, min(1 + self._waits // WAITS_A_PAGE, fitting, pages_max))
        rows = pages * self._keyset.page_size
        self._coming = asyncio.create_task(self._read(self._keyset.following(after), rows))
        await asyncio.sleep(0)  # it asks the database before anything else is done
        return self._coming

    async def _read(self, keyset: Keyset, rows: int) -> _Batch:
        body, parameters = keyset.statement(rows + 1)
        copied = await self._database.copy(body, *parameters, tenant=keyset.tenant)
        data = copied.data
        if not (data.startswith(COPY_HEADER) and data.endswith(COPY_TRAILER)):
            raise AssertionError("this is not a whole COPY in binary format")
        if copied.rows is None:
            done = self._encoder.encode(data, Framing.COPY, start=len(COPY_HEADER), rows_max=rows)
            last = done.last if done.consumed < len(data) - len(COPY_TRAILER) else None
        else:
            last = copied.before_last if copied.rows > rows else None
        end = None if last is None else _key(data, last, Framing.COPY, keyset, self._encoder)
        return _Batch(data=data, framing=Framing.COPY, rows=rows, end=end)


def _pages(batch: _Batch, keyset: Keyset, encoder: Encoder) -> Iterator[EncodedPage]:
    """The pages of a batch. A row beyond its rows is of the next one: it only tells that there is one."""
    at, end, left = 0, len(batch.data), batch.rows
    if batch.framing is Framing.COPY:
        at, end = len(COPY_HEADER), end - len(COPY_TRAILER)
    while True:
        done = encoder.encode(
            batch.data, batch.framing, start=at, rows_max=min(keyset.page_size, left), bytes_max=PAGE_BYTES_MAX
        )  # fmt: skip
        at, left = done.consumed, left - done.rows
        more = at < end
        key = _key(batch.data, done.last, batch.framing, keyset, encoder) if more and done.last is not None else None
        yield EncodedPage(body=done.body, next=key)
        if not more or not left:
            return


def _key(data: bytes, row: int, framing: Framing, keyset: Keyset, encoder: Encoder) -> Key:
    time, id = encoder.plan.values(data, row, framing, (keyset.order, "id"))
    return time, id
