"""Lists by keyset, as bytes: rows go from Postgres' binary format into messages without an object for each.

The first page is one statement, and is out before anything else is read. What follows comes by COPY, in batches of whole pages of about
half a MiB; the next batch is read while one is being sent. So a stream holds two batches, one connection only while a batch is read, and no
transaction. Every page ends at its own key: it does not matter in which batch it came.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from dbcommon.database import Database
from dbcommon.keyset import Key, Keyset
from pages import PAGE_BYTES_MAX
from rowwire import COPY_HEADER, COPY_TRAILER, Encoder, Framing

BATCH_BYTES = 512 * 1024
BATCH_ROWS_MAX = 8_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPage:
    """A page, ready to be sent but for its token."""

    body: bytes
    """The repeated field of its rows, serialised."""
    next: Key | None
    """Where the next page begins; None on the last page of the data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Rows as Postgres sent them: so many at most were asked for."""

    data: bytes
    framing: Framing
    rows: int


async def encoded(database: Database, keyset: Keyset, encoder: Encoder, *, pages_max: int = 0) -> AsyncIterator[EncodedPage]:
    """The pages of a list to its end, or so many of them; 0 is no limit. A page has `keyset.page_size` rows, or 1 MiB."""
    made, sent = deque(_pages(await _first(database, keyset), keyset, encoder)), 0  # rows as they came are let go at once
    coming: asyncio.Task[_Batch] | None = None
    try:
        while True:
            end, size = made[-1].next, len(made[-1].body)
            while made:
                sent += 1
                if coming is None and end is not None and sent > 1 and (not pages_max or sent < pages_max):
                    coming = asyncio.create_task(_more(database, keyset.following(end), size))
                yield made.popleft()
                if sent == pages_max:
                    return
            if end is None:
                return
            keyset = keyset.following(end)
            made.extend(_pages(await (coming or _more(database, keyset, size)), keyset, encoder))
            coming = None
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})


async def _first(database: Database, keyset: Keyset) -> _Batch:
    body, parameters = keyset.statement()
    data = await database.records(body, *parameters, tenant=keyset.tenant)
    return _Batch(data=data, framing=Framing.RECORDS, rows=keyset.page_size + 1)


async def _more(database: Database, keyset: Keyset, page_bytes: int) -> _Batch:
    """As many whole pages as fit into a batch, judged by the page before, and a row more."""
    pages = max(1, min(BATCH_BYTES // max(1, page_bytes), BATCH_ROWS_MAX // keyset.page_size))
    rows = pages * keyset.page_size + 1
    body, parameters = keyset.statement(rows)
    return _Batch(data=await database.copy(body, *parameters, tenant=keyset.tenant), framing=Framing.COPY, rows=rows)


def _pages(batch: _Batch, keyset: Keyset, encoder: Encoder) -> Iterator[EncodedPage]:
    """The pages of a batch. Its last row is of the next one: it only tells that there is one."""
    copied = batch.framing is Framing.COPY
    at, end, left = (
        (len(COPY_HEADER), len(batch.data) - len(COPY_TRAILER), batch.rows - 1)
        if copied
        else (0, len(batch.data), keyset.page_size)
    )
    if copied and not (batch.data.startswith(COPY_HEADER) and batch.data.endswith(COPY_TRAILER)):
        raise AssertionError("this is not a whole COPY in binary format")
    while True:
        done = encoder.encode(
            batch.data, batch.framing, start=at, rows_max=min(keyset.page_size, left), bytes_max=PAGE_BYTES_MAX
        )  # fmt: skip
        at, left = done.consumed, left - done.rows
        more = at < end
        key = None
        if more and done.last is not None:
            time, id = encoder.plan.values(batch.data, done.last, batch.framing, (keyset.order, "id"))
            key = (time, id)
        yield EncodedPage(body=done.body, next=key)
        if not more or not left:
            return
