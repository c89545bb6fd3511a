"""The bench of calls runs, and its table has every server that is there; how fast anything is, no test says."""

import json
import os
from pathlib import Path

import pytest

from tests.bench import arena, rpc


@pytest.mark.long
@pytest.mark.skipif("TEPPAN_DATABASE_URL" in os.environ, reason="the bench starts a server of its own")
async def test_every_server_that_is_there_has_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pg: str) -> None:
    monkeypatch.setenv("BENCH_ROWS", "1000")
    monkeypatch.setenv("PG", pg)
    monkeypatch.setattr(arena, "ROOT", tmp_path)
    await arena.run(tmp_path / "rpc.json", "calls", rpc.turns, rounds=1, seconds=0.05)
    found = json.loads((tmp_path / "rpc.json").read_text())
    rows = {(row["name"], row["server"]): row for row in found["rows"]}
    works = ("an empty call", "GetBooking", "a page of 50", "CreateBooking")
    assert {work for work in works for name, server in rows if name.startswith(work) and server.startswith("Teppan")} == set(works)
    assert all(row["per_second"] > 0 for row in rows.values())
    assert found["bookings"] == 1_000
