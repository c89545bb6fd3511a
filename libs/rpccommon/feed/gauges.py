"""The metrics of feeds: up to when each is known to be complete, as Unix time. How stale that is says `time() - it`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Gauge

LOOK_SECONDS = 2.0
NEVER = datetime.fromtimestamp(0, UTC)


def show_followed(registry: CollectorRegistry, owners: Sequence[str], complete_until: Callable[[str], datetime | None]) -> None:
    """Shows the feeds that a service follows, as of each scrape; what was never heard of is as old as can be."""
    gauge = Gauge(
        "feed_complete_until_seconds", "Up to when a followed feed has been applied", ["owner"], registry=registry
    )  # fmt: skip
    for owner in owners:
        gauge.labels(owner).set_function(lambda owner=owner: (complete_until(owner) or NEVER).timestamp())  # type: ignore[misc]  # bound here


class RelayGauge:
    """The service's own feed: a relay that stands still is seen here first, in every process."""

    def __init__(self, registry: CollectorRegistry, read: Callable[[], Awaitable[datetime | None]]) -> None:
        """`read` looks at what the relay has recorded."""
        self._read = read
        self._gauge = Gauge("relay_complete_until_seconds", "Up to when everything was published", registry=registry)

    async def watch(self) -> None:
        """Looks now and then, endlessly."""
        while True:
            self._gauge.set((await self._read() or NEVER).timestamp())
            await asyncio.sleep(LOOK_SECONDS)
