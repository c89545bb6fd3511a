"""The bench of references runs, and says what it saw; how fast anything is, no test says."""

import json
import os
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import asyncpg
import pytest
from rich.console import Console

from local.database import Server
from referring import Rule
from rpccommon.registry import registry
from tests.bench import figures
from tests.bench.figures import Seen
from tests.bench.ground import AS_IT_IS, KEY_ONLY, WITHOUT, laid
from tests.bench.references import FIRST, HOT, LIMITS, MANY, Amounts, measure, rows
from tests.references_live import unguarded

FEW = Amounts(rounds=2, bookings={"--transactions": 2}, customers=1)


def seen(*per_second: float) -> Sequence[Seen]:
    """Of a server that spends a second of CPU in a second."""
    return [Seen(per_second=one, cpu_us=1e6 / one) for one in per_second]


@pytest.mark.long
@pytest.mark.skipif("TEPPAN_DATABASE_URL" in os.environ, reason="the server's CPU is read from this machine")
async def test_the_bench_runs_every_variant_in_every_round_and_keeps_what_it_saw(
    server: Server, template: str, pg: str, tmp_path: Path
) -> None:
    turns: list[None] = []
    rounds = await measure(server, template, pg, tmp_path, FEW, lambda: turns.append(None))
    assert {scenario: {len(seen) for seen in variants.values()} for scenario, variants in rounds.items()} == {
        HOT: {2}, MANY: {2}, FIRST: {2},
    }  # fmt: skip
    assert len(turns) == 3 * sum(map(len, rounds.values()))
    assert all(one.per_second > 0 for variants in rounds.values() for each in variants.values() for one in each)
    found = rows(rounds)
    figures.write(tmp_path / "build" / "figures.json", {"cores": 2}, found, rounds)
    written = json.loads((tmp_path / "build" / "figures.json").read_text())
    assert [row["limit"] for row in written["figures"] if row["limit"]] == [1.35, 1.15]
    assert len(written["rounds"][HOT]["without both"]) == 2


@pytest.mark.long
@pytest.mark.parametrize(("variant", "lacks"), [(AS_IT_IS, ()), (KEY_ONLY, ("guard",)), (WITHOUT, ("key", "guard"))])
async def test_the_databases_lack_what_their_variant_says(
    server: Server, template: str, variant: str, lacks: tuple[str, ...]
) -> None:
    guarded = [each for each in registry() if each.service == "bookings" and each.rule != Rule.KEEP]
    async with laid(server, template) as ground:
        connection = await asyncpg.connect(server.url(ground.databases[variant]))
        try:
            found = await unguarded(connection, guarded)
        finally:
            await connection.close()
    assert [re.search(r"no (?:foreign )?(key|guard) ", sentence)[1] for sentence in found] == [*lacks] * len(guarded)  # type: ignore[index]  # each has one


def test_ratios_are_taken_within_a_round() -> None:
    rounds = {"as it is": seen(100, 10, 90), "without both": seen(130, 13, 180)}
    slow, base = figures.figures(HOT, rounds, base="without both", limits=LIMITS[HOT])
    assert (slow.per_second, slow.times_as_many) == (90, 1.3)
    assert slow.quartiles == pytest.approx((1.3, 1.65))
    assert slow.times_the_cpu == pytest.approx((1 / 100 + 1 / 10 + 1 / 90) / (1 / 130 + 1 / 13 + 1 / 180))
    assert (base.per_second, base.times_as_many, base.limit) == (130, 1.0, None)


@pytest.mark.parametrize(("rate", "ratio", "limit"), [(100, "1.30", "1.35"), (90, "1.44", "1.35 over")])
def test_a_figure_stands_beside_its_limit(rate: float, ratio: str, limit: str) -> None:
    rounds = {"as it is": seen(rate, rate), "without both": seen(130, 130)}
    console = Console(file=StringIO(), width=160)
    figures.show(console, "title", figures.figures(HOT, rounds, base="without both", limits=LIMITS[HOT]))
    row = next(line for line in console.file.getvalue().splitlines() if "as it is" in line)  # type: ignore[attr-defined]  # a StringIO
    cells = [cell.strip() for cell in row.split("│")]
    assert (cells[4], cells[6]) == (ratio, limit)
