"""How an audit is streamed, what is asked for it, and the gauge of what it found."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from teppan.common.v1 import audits_pb2 as pb
from teppan.common.v1 import options_pb2

from auditing import Dangling, End, Progress, Repaired, Step, Undecided
from referring import Rule
from rpccommon import audits
from rpccommon.audits import AuditsServicer

THING, SINCE = UUID(int=7), datetime(2030, 1, 1, tzinfo=UTC)


def progress(asked: int) -> Progress:
    return Progress(column="slots.station_id", rows_scanned=5, rows_about=10, things_asked=asked, complete=False)


class Audit:
    """Says what it is told to, when it is told to."""

    def __init__(self, *steps: Step) -> None:
        self.steps = steps
        self.wait_before = -1
        self.gate = asyncio.Event()
        self.asked: list[tuple[Sequence[str], str | None]] = []
        self.ended = False

    async def run(self, columns: Sequence[str], *, repair_by: str | None) -> AsyncGenerator[Step, None]:
        self.asked.append((columns, repair_by))
        try:
            for index, step in enumerate(self.steps):
                if index == self.wait_before:
                    await self.gate.wait()
                yield step
        finally:
            self.ended = True


def stream(audit: Audit, **request: Any) -> AsyncIterator[pb.AuditReferencesResponse]:
    return AuditsServicer(audit).AuditReferences(pb.AuditReferencesRequest(**request), None)


async def test_each_step_is_said_and_the_end_last() -> None:
    audit = Audit(
        progress(3),
        Dangling(column="slots.station_id", id=THING, tenant=None, rows=2, first_seen=SINCE, rule=Rule.CASCADE),
        Repaired(column="slots.station_id", id=THING, rows=2),
        Undecided(column="slots.station_id", ids=[THING], why="?"),
        End(columns=1, things_asked=3, dangling=1, rows_dangling=2, rows_repaired=2, undecided=1),
    )
    said = [message async for message in stream(audit, columns=["slots.station_id"])]
    assert [message.WhichOneof("step") for message in said] == ["progress", "dangling", "repaired", "undecided", "end"]
    assert (said[0].progress.rows_scanned, said[0].progress.rows_about, said[0].progress.things_asked) == (5, 10, 3)
    found = said[1].dangling
    assert (found.id, found.station_id, found.rows, found.on_delete) == (str(THING), "", 2, options_pb2.ON_DELETE_CASCADE)
    assert found.first_seen_time.ToDatetime(UTC) == SINCE
    assert ([*said[3].undecided.ids], said[3].undecided.why) == ([str(THING)], "?")
    assert (said[4].end.rows_repaired, said[4].end.undecided) == (2, 1)
    assert audit.asked == [(["slots.station_id"], None)], "nobody is named who would repair"


async def test_while_nothing_happens_the_progress_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "HEARTBEAT_SECONDS", 0.001)
    audit = Audit(progress(3), End())
    audit.wait_before = 1
    said = stream(audit)
    assert [(await anext(said)).progress.things_asked for _ in range(4)] == [3, 3, 3, 3]
    audit.gate.set()
    assert [message async for message in said][-1].HasField("end")


@pytest.mark.parametrize("messages", [1, 2])
async def test_who_hangs_up_ends_the_audit_between_steps_and_within_one(messages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "HEARTBEAT_SECONDS", 0.001)
    audit = Audit(progress(3), End())
    audit.wait_before = 1
    said: Any = stream(audit)
    for _ in range(messages):
        await anext(said)
    await said.aclose()
    assert audit.ended
