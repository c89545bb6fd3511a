"""Streams of pages: each message a whole page of at most 1 MiB, with the signed token that leads on from it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from faults import PageTokenInvalid
from pages import PAGE_BYTES_MAX, Page, TokenRefused, Tokens

MessageT = TypeVar("MessageT", bound=Any)
Key = tuple[datetime, UUID]
ROWS_AT_ONCE = 100
"""A row takes some 10 us: so long, and not for a whole page, everybody else waits."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Pager:
    """Signs and opens the tokens of one list: `purpose` holds all that decides which rows come in which order."""

    def __init__(self, tokens: Tokens, purpose: str) -> None:
        """See `pages.bound` for the purpose."""
        self._tokens = tokens
        self._purpose = purpose

    def key(self, page_token: str) -> Key | None:
        """Where the page begins; None for the first one. Raises PageTokenInvalid."""
        if not page_token:
            return None
        try:
            micros, id = self._tokens.open(self._purpose, page_token)["after"]
        except TokenRefused as refused:
            raise PageTokenInvalid({"page_token": f"{refused}; begin at the first page"}) from refused
        return _EPOCH + micros * _MICROSECOND, UUID(id)

    def token(self, key: Key) -> str:
        """The token of the page that begins after a row."""
        return self._tokens.sign(self._purpose, {"after": [(key[0] - _EPOCH) // _MICROSECOND, str(key[1])]})

    async def messages(
        self, page: Page[Any], new: Callable[[], MessageT], add: Callable[[MessageT, Any], None], key_of: Callable[[Any], Key]
    ) -> AsyncGenerator[MessageT, None]:
        """A page as a message, or as several where it is larger than 1 MiB; the last page of the data has no token.

        `add` adds a row to a message. Other calls have their turn in between.
        """
        message = new()
        for number, row in enumerate(page.rows, start=1):
            add(message, row)
            if not number % ROWS_AT_ONCE:
                await asyncio.sleep(0)
        if message.ByteSize() > PAGE_BYTES_MAX and len(page.rows) > 1:
            half = len(page.rows) // 2
            for rows, key in ((page.rows[:half], key_of(page.rows[half - 1])), (page.rows[half:], page.next)):
                async with aclosing(self.messages(Page(rows=rows, next=key), new, add, key_of)) as parts:
                    async for part in parts:
                        yield part
            return
        if page.next:
            message.next_page_token = self.token((page.next[0], page.next[1]))
        yield message


async def limited(
    pages: AsyncGenerator[Page[Any], None], to_pb: Callable[[Page[Any]], AsyncGenerator[MessageT, None]], limit: int
) -> AsyncGenerator[MessageT, None]:
    """The messages of a list, at most `limit` of them; 0 is no limit. Closes `pages` with itself."""
    sent = 0
    async with aclosing(pages):
        async for page in pages:
            async with aclosing(to_pb(page)) as messages:
                async for message in messages:
                    yield message
                    sent += 1
                    if sent == limit:
                        return
