"""The figures of calls are those that the library's own counters would give."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from rpccommon.rates import BUCKETS, Rates

TOOK = [0.0, 0.0004, *BUCKETS, 0.0011, 0.7, 31.0, 400.0]
"""Also exactly at every bound, and beyond the last."""


def test_calls_are_counted_as_the_librarys_counters_would() -> None:
    mine, theirs = CollectorRegistry(), CollectorRegistry()
    rates = Rates()
    mine.register(rates)
    calls = Counter("rpc_calls_total", "", ["method", "code"], registry=theirs)
    seconds = Histogram("rpc_duration_seconds", "", ["method"], buckets=BUCKETS, registry=theirs)
    running = Gauge("rpc_in_flight", "", ["method"], registry=theirs)
    for method in ("/a/b", "/a/c"):
        rate = rates.of(method)
        rate.began()
        running.labels(method).inc()
        for number, took in enumerate(TOOK):
            code = "OK" if number % 3 else "NOT_FOUND"
            rate.began()
            rate.ended(code, took)
            calls.labels(method, code).inc()
            seconds.labels(method).observe(took)
    found, wanted = (
        {(s.name, *sorted(s.labels.items())): s.value for family in registry.collect() for s in family.samples}
        for registry in (mine, theirs)
    )
    assert found == {name: pytest.approx(value) for name, value in wanted.items() if not str(name[0]).endswith("_created")}


def test_a_method_that_nobody_called_is_shown_with_zeros() -> None:
    rates = Rates()
    rates.of("/a/b")
    samples = {s.name: s.value for family in rates.collect() for s in family.samples if s.labels.get("le", "+Inf") == "+Inf"}
    assert samples == dict.fromkeys(
        ("rpc_duration_seconds_bucket", "rpc_duration_seconds_count", "rpc_duration_seconds_sum", "rpc_in_flight"), 0.0
    )
