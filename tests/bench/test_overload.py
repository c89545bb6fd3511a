"""The bench of overload runs, and says what it saw; how much a service bears, no test says."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from local.database import SERVICES
from tests.bench import arena, overload
from tests.bench.crowds import MIXES
from tests.bench.peers import calls, golang
from tests.bench.peers.offered import Crowd, Offered, offer
from tests.bench.peers.servers import bare
from tests.bench.test_peers import or_skip

SHORT = overload.Settings(mixes=MIXES, overload=0.5, peak=0.1, recovery=1, noisy=0.1, readers=0.1, idle=0.2, settle=0)


def seen(*after: float) -> Offered:
    return Offered(
        seconds=1, good=1, refused=0, expired=0, skipped=0, failures={}, good_p50_ms=1, good_p99_ms=1, refused_p50_ms=None,
        refused_p99_ms=None, late_p50_ms=0, late_p99_ms=0, late_most_ms=0, client_cores=0, after=after,
    )  # fmt: skip


def test_it_has_recovered_at_the_end_of_the_first_window_that_is_as_good() -> None:
    assert seen(0, 80, 95, 100).recovered(90) == 1.5
    assert seen(0, 80, 80).recovered(90) == 1.5


async def test_calls_begin_by_the_clock() -> None:
    programs = or_skip(golang.build)
    async with bare() as running:
        crowd = Crowd(call=calls.bare_call(running.address), bodies=[b""])
        found = await offer(programs, crowd, per_second=100, seconds=0.5, after_seconds=0.5, after_clients=2)
    assert found.due == found.good == 50
    assert found.after[0] > 0


async def test_refusals_are_counted_by_reason() -> None:
    programs = or_skip(golang.build)
    async with bare() as running:
        crowd = Crowd(call=replace(calls.bare_call(running.address), path="/bench.Bare/Unknown"), bodies=[b""])
        found = await offer(programs, crowd, per_second=100, seconds=0.2)
    assert (found.good, found.refused, found.expired) == (0, 20, 0)
    assert found.failures == {"Unimplemented": 20}
    assert found.good_p50_ms is None


@pytest.mark.long
@pytest.mark.skipif("TEPPAN_DATABASE_URL" in os.environ, reason="the bench starts a server of its own")
def test_every_part_has_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pg: str) -> None:
    or_skip(golang.build)
    monkeypatch.setenv("BENCH_ROWS", "2000")
    monkeypatch.setenv("PG", pg)
    monkeypatch.setattr(arena, "ROOT", tmp_path)
    overload.run(tmp_path / "overload.json", SHORT)
    found = json.loads((tmp_path / "overload.json").read_text())
    assert [row["name"] for row in found["rows"]] == [*MIXES]
    for row in found["rows"]:
        assert 0 < row["peak_per_s"] < row["offered_per_s"]
    judged = {each["what"]: each for each in found["targets"]}
    assert judged["GetBooking: good answers, of the peak"]["limit"] == 0.8
    assert all(judged[f"idle {service}: CPU"]["limit"] == 1 for service in SERVICES)
    assert judged["20 stopped readers: memory added by each"]["value"] > 0
