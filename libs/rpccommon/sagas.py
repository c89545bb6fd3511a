"""The metrics of sagas that have not ended; `dbcommon.sagas` finds them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

COUNT_SECONDS = 5.0


class Count(Protocol):
    """The sagas of one kind."""

    @property
    def kind(self) -> str:
        """Its name."""

    @property
    def unfinished(self) -> int:
        """How many have not ended."""

    @property
    def seconds(self) -> float:
        """For how long the oldest of them has not; 0 where there is none."""


class UnfinishedSagas(Collector):
    """What the database has, and so alike in every process. A scrape sees one count or the next, never half of one."""

    def __init__(self, registry: CollectorRegistry, read: Callable[[], Awaitable[Sequence[Count]]]) -> None:
        """`read` gives a count for each kind, also where it is none."""
        self._read = read
        self._counts: Sequence[Count] = ()
        registry.register(self)

    async def watch(self) -> None:
        """Looks now and then, endlessly."""
        while True:
            self._counts = await self._read()
            await asyncio.sleep(COUNT_SECONDS)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What a scrape gets."""
        sagas = GaugeMetricFamily("sagas_unfinished", "Sagas that have not ended", labels=["kind"])
        ages = GaugeMetricFamily("saga_oldest_age_seconds", "For how long the oldest has not", labels=["kind"])
        for count in self._counts:
            sagas.add_metric([count.kind], count.unfinished)
            ages.add_metric([count.kind], count.seconds)
        yield from (sagas, ages)
