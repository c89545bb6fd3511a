"""Rate, errors and duration of each method, counted with plain numbers and put together when somebody scrapes.

Every call counts, and few scrape: a library's counter with its lock and labels costs a call five times as much.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BOUNDS = [*map(str, map(float, BUCKETS)), "+Inf"]


class Rate:
    """The figures of one method. Only the event loop's thread changes them."""

    __slots__ = ("buckets", "codes", "running", "seconds")

    def __init__(self) -> None:
        """Nothing has been called."""
        self.running = 0
        self.codes: dict[str, int] = {}
        self.buckets = [0] * len(BOUNDS)
        """How many calls took at most so long, and longer than the bound before."""
        self.seconds = 0.0

    def began(self) -> None:
        """A call is under way."""
        self.running += 1

    def ended(self, code: str, seconds: float) -> None:
        """It is no more."""
        self.running -= 1
        self.codes[code] = self.codes.get(code, 0) + 1
        self.buckets[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


class Rates(Collector):
    """The figures of all methods of a server."""

    def __init__(self) -> None:
        """There are no methods yet."""
        self._methods: dict[str, Rate] = {}

    def of(self, method: str) -> Rate:
        """The figures of one method, which are shown from now on."""
        return self._methods.setdefault(method, Rate())

    def collect(self) -> Iterator[Metric]:
        """What a scrape gets. It may run in another thread: what changes meanwhile is copied in one step."""
        calls = CounterMetricFamily("rpc_calls", "Calls that ended, by code", labels=["method", "code"])
        seconds = HistogramMetricFamily("rpc_duration_seconds", "How long calls took", labels=["method"])
        running = GaugeMetricFamily("rpc_in_flight", "Calls that are under way", labels=["method"])
        for method, rate in list(self._methods.items()):
            for code, count in list(rate.codes.items()):
                calls.add_metric([method, code], count)
            buckets = list(zip(BOUNDS, map(float, accumulate(list(rate.buckets))), strict=True))
            seconds.add_metric([method], buckets, rate.seconds)
            running.add_metric([method], rate.running)
        yield from (calls, seconds, running)
