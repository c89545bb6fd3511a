"""The metrics of purges that have not ended; `dbcommon.references.purging` has them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

COUNT_SECONDS = 5.0


class Count(Protocol):
    """The purges that cannot be taken back, and have not ended."""

    @property
    def count(self) -> int:
        """How many."""

    @property
    def seconds(self) -> float:
        """How old the oldest is."""


class Tombstones(Collector):
    """What of an owner's things is on its way out. Before the first look there is no figure."""

    def __init__(self, registry: CollectorRegistry, read: Callable[[], Awaitable[Count]]) -> None:
        """`read` looks at the database."""
        self._read = read
        self._found: Count | None = None
        registry.register(self)

    async def watch(self) -> None:
        """Looks now and then, endlessly: at what the database has, and so alike in every process."""
        while True:
            self._found = await self._read()
            await asyncio.sleep(COUNT_SECONDS)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What a scrape gets."""
        if (found := self._found) is None:
            return
        yield GaugeMetricFamily("tombstones", "Purges that cannot be taken back and have not ended", value=found.count)
        yield GaugeMetricFamily("tombstone_age_seconds", "For how long the oldest has not", value=found.seconds)
