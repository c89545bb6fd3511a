"""The page says what the benches left, and nothing else."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.bench import performance
from tests.bench.limits import Judged
from tests.bench.peers.absent import Absent

ABOUT = {
    "date": "2026-12-01", "python": "3.11.7", "machine": "x86_64", "processor": "", "cores": 2, "memory_gib": 23.5, "system": "Linux 6.1",
    "postgres": "18.0", "go": None, "versions": {"grpcio": "1.76.0"}, "bookings": 400_000, "rounds": 5, "absent": ["The Go peer is left out."],
}  # fmt: skip
RATES = {"COPY by psql": 500_000.0, "Teppan": 400_000.4}


def row(server: str, rate: float) -> dict[str, Any]:
    return {
        "name": "one stream, pages of 1,000", "server": server, "rows_per_s": rate, "server_us_per_row": None, "postgres_us_per_row": 2.53,
        "ratio_to_copy": rate / 500_000, "ratio_to_go": float("nan"), "p50_ms": 1.0, "p99_ms": 2.0,
    }  # fmt: skip


def found(**settings: object) -> dict[str, dict[str, Any]]:
    judged = [
        Judged(what="rate, of COPY's", value=0.8, limit=0.85, at_least=True),
        Judged(what="the first page: p50", value=3.96, unit="ms", limit=4),
        Judged(what="rate, of Go's", value=None, limit=1.8, at_least=True),
        Judged(what="memory before", value=119.0, unit="MiB"),
    ]
    rows = [row(server, rate) for server, rate in RATES.items()]
    return {"list.json": {**ABOUT, **settings, "targets": [each.as_json() for each in judged], "rows": rows}}


def test_what_is_missed_is_said_first() -> None:
    before, _, after = performance.page(found(), []).partition("## Lists")
    assert "Of 3 targets 1 are missed and 1 not measured." in before
    assert "| Lists: rate, of COPY's | 0.8 | at least 0.85 |" in before
    assert "the first page" not in before
    assert "| rate, of COPY's | 0.8 | at least 0.85 | **MISSED** |" in after


def test_each_figure_stands_beside_its_limit() -> None:
    lines = performance.page(found(), []).splitlines()
    assert "| the first page: p50 | 3.96 ms | at most 4 | met |" in lines
    assert "| rate, of Go's | - | at least 1.8 | not measured |" in lines
    assert "| memory before | 119 MiB |  |  |" in lines
    assert "| one stream, pages of 1,000 | Teppan | 400,000 | - | 2.53 | 0.8 | - | 1 | 2 |" in lines


def test_the_page_says_on_what_it_was_measured_and_what_was_not() -> None:
    text = performance.page(found(), [])
    assert (
        "Measured on 2026-12-01: 400,000 bookings, rounds 5; 2 cores (x86_64), 23.5 GiB, Linux 6.1; PostgreSQL 18.0, Python 3.11.7"
        in text
    )
    assert "The Go peer is left out." in text
    assert "## Calls\n\nNot measured yet." in text


@pytest.mark.parametrize(("settings", "trial"), [({}, False), ({"rounds": 1}, True), ({"bookings": 2_000}, True)])
def test_a_trial_is_called_one(settings: dict[str, object], *, trial: bool) -> None:
    assert ("short trial" in performance.page(found(**settings), [])) == trial


def test_a_plot_is_shown_where_it_was_drawn() -> None:
    [name] = performance.plots(found())
    assert f"]({name})" not in performance.page(found(), [])
    assert f"]({name})" in performance.page(found(), [name])


@pytest.mark.long
def test_plots_are_drawn_and_alike_each_time(tmp_path: Path) -> None:
    wanted = performance.plots(found())
    try:
        [name] = performance.draw(wanted, tmp_path)
    except Absent as absent:
        pytest.skip(str(absent))
    first = (tmp_path / name).read_bytes()
    performance.draw(wanted, tmp_path)
    assert (tmp_path / name).read_bytes() == first
    texts = [each.text for each in ET.fromstring(first).iter() if each.text]  # noqa: S314  # made here
    assert {"COPY by psql", "Teppan", "500,000", "400,000"} <= set(texts)
    assert b"<script" not in first
