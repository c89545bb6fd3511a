"""The gauges of what lies in the database: events aside, sagas and purges that have not ended, references that dangle."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

COUNT_SECONDS = 5.0
PARKED_STATES = ("retried", "parked", "waiting")

Found = TypeVar("Found")
Gauges = Iterator[GaugeMetricFamily]


class Counted(Collector, Generic[Found]):
    """Figures of what the database has, and so alike in every process.

    A scrape sees one look or the next, never half of one; before the first there is no figure, and not a good one.
    """

    def __init__(self, registry: CollectorRegistry, read: Callable[[], Awaitable[Found]], shown: Callable[[Found], Gauges]) -> None:
        """`read` looks; `shown` makes the figures of what it found."""
        self._read = read
        self._shown = shown
        self._found: Found | None = None
        registry.register(self)

    async def watch(self) -> None:
        """Looks now and then, endlessly."""
        while True:
            self._found = await self._read()
            await asyncio.sleep(COUNT_SECONDS)

    def collect(self) -> Gauges:
        """What a scrape gets."""
        if self._found is not None:
            yield from self._shown(self._found)


class Aside(Protocol):
    """The events of an owner and type that lie aside in one state; `seconds` is for how long the oldest does."""

    @property
    def owner(self) -> str: ...  # noqa: D102  # the class says it

    @property
    def type(self) -> str: ...  # noqa: D102

    @property
    def state(self) -> str: ...  # noqa: D102

    @property
    def events(self) -> int: ...  # noqa: D102

    @property
    def seconds(self) -> float: ...  # noqa: D102


class Unfinished(Protocol):
    """The sagas of a kind that have not ended; `seconds` is for how long the oldest has not, 0 where there is none."""

    @property
    def kind(self) -> str: ...  # noqa: D102

    @property
    def unfinished(self) -> int: ...  # noqa: D102

    @property
    def seconds(self) -> float: ...  # noqa: D102


class Purging(Protocol):
    """The purges that cannot be taken back and have not ended; `seconds` is how old the oldest is."""

    @property
    def count(self) -> int: ...  # noqa: D102

    @property
    def seconds(self) -> float: ...  # noqa: D102


def parked_events(followed: Sequence[tuple[str, str]]) -> Callable[[Sequence[Aside]], Gauges]:
    """`followed` are owners and types: of each there is a figure, also where it is none."""

    def shown(counts: Sequence[Aside]) -> Gauges:
        found = {(each.owner, each.type, each.state): each for each in counts}
        events = GaugeMetricFamily("feed_parked_events", "Events that are not applied yet", labels=["owner", "type", "state"])
        ages = GaugeMetricFamily("feed_parked_age_seconds", "For how long the oldest is not", labels=["owner", "type", "state"])
        for key in sorted({*found, *((*pair, state) for pair in followed for state in PARKED_STATES)}):
            count = found.get(key)
            events.add_metric(key, count.events if count else 0)
            ages.add_metric(key, count.seconds if count else 0)
        yield from (events, ages)

    return shown


def unfinished_sagas(counts: Sequence[Unfinished]) -> Gauges:
    """A count for each kind, also where it is none."""
    sagas = GaugeMetricFamily("sagas_unfinished", "Sagas that have not ended", labels=["kind"])
    ages = GaugeMetricFamily("saga_oldest_age_seconds", "For how long the oldest has not", labels=["kind"])
    for count in counts:
        sagas.add_metric([count.kind], count.unfinished)
        ages.add_metric([count.kind], count.seconds)
    yield from (sagas, ages)


def tombstones(found: Purging) -> Gauges:
    """What of an owner's things is on its way out."""
    yield GaugeMetricFamily("tombstones", "Purges that cannot be taken back and have not ended", value=found.count)
    yield GaugeMetricFamily("tombstone_age_seconds", "For how long the oldest has not", value=found.seconds)


def dangling_references(columns: Sequence[str]) -> Callable[[Mapping[str, int]], Gauges]:
    """Rows by column: what the last audits found and nobody has mended. Of each of the columns there is a figure."""

    def shown(rows: Mapping[str, int]) -> Gauges:
        gauge = GaugeMetricFamily("dangling_references", "Rows that refer to a thing that is not there", labels=["column"])
        for column in sorted({*columns, *rows}):
            gauge.add_metric([column], rows.get(column, 0))
        yield gauge

    return shown
