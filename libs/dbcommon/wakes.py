"""Wakes whoever waits for news of a schema, in every process, by NOTIFY; so that nobody has to look all the time.

The signal is sent after the commit and from a connection of its own: a NOTIFY within the transaction would make all commits of the
server queue for one lock. It may be lost, with its process or its connection. So whoever waits looks once a second besides.
"""

import asyncio
from contextlib import suppress
from enum import StrEnum

import asyncpg

from dbcommon.urls import endpoint

ANSWER_SECONDS = 5
BEAT_SECONDS = 10.0
"""How often the connection is used where nothing is told: who only listens would not notice that it is broken."""
DEBOUNCE_SECONDS = 0.005
"""Commits of so long are told of at once."""
LOOK_SECONDS = 1.0
"""The longest that news whose signal was lost wait."""


class News(StrEnum):
    """What there may be news of."""

    OUTBOX = "outbox"
    """Changes were committed: for the relay."""
    EVENTS = "events"
    """The head of the feed has moved: for those who read it."""


class Wakes:
    """The signals of one schema, as one process sends and gets them."""

    def __init__(self, url: str, service: str) -> None:
        """Connects when it runs. `url` leads to the server itself: a pooler between hands LISTEN to anybody."""
        self._endpoint = endpoint(url)
        self._channels = {news: f"teppan_{service}_{news}" for news in News}
        self._told = {news: asyncio.Event() for news in News}
        self._pending: set[News] = set()
        self._sends = asyncio.Event()

    def tell(self, news: News) -> None:
        """Sends a signal soon, to this process at once; never waits, and never fails."""
        self._told[news].set()
        self._pending.add(news)
        self._sends.set()

    def look(self, news: News) -> None:
        """Ends the wait in this process, or the next one: somebody began to wait who may have missed a signal."""
        self._told[news].set()

    async def wait(self, news: News, seconds: float = LOOK_SECONDS) -> None:
        """Returns at the next signal, or one that came since the last wait ended; at the latest after so many seconds."""
        told = self._told[news]
        try:
            async with asyncio.timeout(seconds):
                await told.wait()
        except TimeoutError:
            return  # nothing was told: the caller looks all the same
        told.clear()

    async def run(self) -> None:
        """Sends and gets signals, endlessly. Raises what asyncpg does where the connection breaks; the caller runs it again."""
        connection = await asyncpg.connect(**self._endpoint.arguments())
        try:
            for news, channel in self._channels.items():
                await connection.add_listener(channel, lambda *_, told=self._told[news]: told.set())
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(BEAT_SECONDS):
                        await self._sends.wait()
                        await asyncio.sleep(DEBOUNCE_SECONDS)
                self._sends.clear()
                channels = [self._channels[self._pending.pop()] for _ in range(len(self._pending))]
                await connection.fetch("SELECT pg_notify(c, '') FROM unnest($1::text[]) c", channels, timeout=ANSWER_SECONDS)
        finally:
            connection.terminate()
