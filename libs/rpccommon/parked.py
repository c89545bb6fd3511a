"""The metrics of events that could not be applied yet; `dbcommon.parked` has them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

COUNT_SECONDS = 5.0


class Count(Protocol):
    """Events of one kind that lie aside."""

    @property
    def owner(self) -> str:
        """Whose events they are."""

    @property
    def type(self) -> str:
        """What they are about."""

    @property
    def state(self) -> str:
        """Retried, parked, or waiting behind one that is."""

    @property
    def events(self) -> int:
        """How many."""

    @property
    def seconds(self) -> float:
        """For how long the oldest of them has been lying there."""


class ParkedEvents(Collector):
    """What lies aside of the feeds that a service follows. A scrape sees one count or the next, never half of one."""

    STATES = ("retried", "parked", "waiting")

    def __init__(
        self, registry: CollectorRegistry, followed: Sequence[tuple[str, str]], read: Callable[[], Awaitable[Sequence[Count]]]
    ) -> None:
        """`followed` are owners and types: of each there is a figure, also where it is none."""
        self._followed = followed
        self._read = read
        self._counts: Sequence[Count] = ()
        registry.register(self)

    async def watch(self) -> None:
        """Looks now and then, endlessly: at what the database has, and so alike in every process."""
        while True:
            self._counts = await self._read()
            await asyncio.sleep(COUNT_SECONDS)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What a scrape gets."""
        found = {(each.owner, each.type, each.state): each for each in self._counts}
        events = GaugeMetricFamily("feed_parked_events", "Events that are not applied yet", labels=["owner", "type", "state"])
        ages = GaugeMetricFamily("feed_parked_age_seconds", "For how long the oldest is not", labels=["owner", "type", "state"])
        for key in sorted({*found, *((*pair, state) for pair in self._followed for state in self.STATES)}):
            count = found.get(key)
            events.add_metric(key, count.events if count else 0)
            ages.add_metric(key, count.seconds if count else 0)
        yield from (events, ages)
