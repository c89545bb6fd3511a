"""The metrics of those who follow feeds; what lies aside of them is among `rpccommon.gauges`."""

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge


class FeedMetrics:
    """Of all feeds that a process follows; each is there from the start, so that an alert can tell none from unknown."""

    def __init__(self, registry: CollectorRegistry, owners: Sequence[str]) -> None:
        """With a figure for each of the owners."""
        self.left_epochs = Counter(
            "feed_left_epoch", "Refusals to follow into an epoch that was left", ["owner"], registry=registry
        )
        self._resyncs = Counter("feed_resynchronisations", "How often all there is was taken over", ["owner"], registry=registry)
        self._unknown = Gauge(
            "feed_unknown_rows",
            "Known rows that the owner had nothing of, at the last such time",
            ["owner", "type"],
            registry=registry,
        )
        for owner in owners:
            self.left_epochs.labels(owner)
            self._resyncs.labels(owner)

    def resynchronised(self, owner: str, unknown: Mapping[str, int]) -> None:
        """All there is was taken over; `unknown` by type."""
        self._resyncs.labels(owner).inc()
        for type, rows in unknown.items():
            self._unknown.labels(owner, type).set(rows)
