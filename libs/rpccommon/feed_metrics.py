"""The metrics of those who follow feeds; what lies aside of them is counted in `parked`."""

from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedMetrics:
    """Of all feeds that a process follows; each is there from the start, so that an alert can tell none from unknown."""

    left_epochs: Counter
    """Refusals to follow an owner into an epoch that was left: any is an alert."""


def feed_metrics(registry: CollectorRegistry, owners: Sequence[str]) -> FeedMetrics:
    """The metrics, with a figure for each owner."""
    made = FeedMetrics(
        left_epochs=Counter("feed_left_epoch", "Refusals to follow into an epoch that was left", ["owner"], registry=registry)
    )  # fmt: skip
    for owner in owners:
        made.left_epochs.labels(owner)
    return made
