"""The bench of lists runs, and its tables have every server that is there; how fast anything is, no test says."""

import json
import os
from pathlib import Path

import pytest

from tests.bench import arena
from tests.bench import list as lists
from tests.bench.listing import FIRST_PAGES
from tests.bench.peers import load
from tests.bench.rpc import PAGE, TEPPAN


@pytest.mark.long
@pytest.mark.skipif("TEPPAN_DATABASE_URL" in os.environ, reason="the bench starts a server of its own")
async def test_every_list_has_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pg: str) -> None:
    monkeypatch.setenv("BENCH_ROWS", "2000")
    monkeypatch.setenv("PG", pg)
    monkeypatch.setattr(arena, "ROOT", tmp_path)
    monkeypatch.setattr(load, "CALIBRATION_SECONDS", 0.02)
    await lists.run(tmp_path / "list.json", rounds=1, seconds=0.05)
    found = json.loads((tmp_path / "list.json").read_text())
    rows = {(row["name"], row["server"]): row for row in found["rows"]}
    works = {lists.STREAM, PAGE, *FIRST_PAGES.values(), lists.ALONE, *lists.BESIDE.values()}
    assert {name for name, server in rows if server == TEPPAN} == works
    assert all(row["rows_per_s"] > 0 for row in rows.values())
    assert rows[lists.STREAM, lists.COPY]["ratio_to_copy"] == 1
    judged = {each["what"]: each for each in found["targets"]}
    assert judged["a stream: rate, of COPY's"]["limit"] == 0.85
    assert judged["4 slow readers: memory added"]["value"] >= 0
    assert found["bookings"] == 2_000
