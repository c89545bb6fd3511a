"""What a service answers to who audits its references; `dbcommon.audit` does it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Protocol

from google.protobuf.timestamp_pb2 import Timestamp
from teppan.common.v1 import audits_pb2 as pb
from teppan.common.v1 import audits_pb2_grpc

from auditing import Dangling, End, Progress, Repaired, Step, Undecided
from rpccommon.present import caller

HEARTBEAT_SECONDS = 2.0


class Audit(Protocol):
    """Audits what this service refers to."""

    def run(self, columns: Sequence[str], *, repair_by: str | None) -> AsyncGenerator[Step, None]:
        """The steps; its end is the last. Raises InvalidArgument, and faults."""


class AuditsServicer(audits_pb2_grpc.AuditsServiceServicer):
    """Streams audits."""

    def __init__(self, audit: Audit) -> None:
        """Audits nothing by itself."""
        self._audit = audit

    async def AuditReferences(self, request: pb.AuditReferencesRequest, context: Any) -> AsyncIterator[pb.AuditReferencesResponse]:
        """Streams steps, and how far it is where none comes for two seconds. Who hangs up ends the audit."""
        said = pb.AuditReferencesResponse(progress=pb.AuditProgress())
        steps = self._audit.run(list(request.columns), repair_by=caller().subject if request.repair else None)
        coming: asyncio.Task[Step | None] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(_next(steps))
                await asyncio.wait({coming}, timeout=HEARTBEAT_SECONDS)
                if coming.done():
                    if (step := coming.result()) is None:
                        return
                    coming = None
                    message = _step_to_pb(step)
                    said = message if message.HasField("progress") else said
                    yield message
                else:
                    yield said
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait({coming})
            await steps.aclose()


async def _next(steps: AsyncGenerator[Step, None]) -> Step | None:
    return await anext(steps, None)


def _step_to_pb(step: Step) -> pb.AuditReferencesResponse:
    match step:
        case Progress():
            progress = pb.AuditProgress(
                column=step.column, rows_scanned=step.rows_scanned, rows_about=step.rows_about, things_asked=step.things_asked,
                complete=step.complete,
            )  # fmt: skip
            return pb.AuditReferencesResponse(progress=progress)
        case Dangling():
            return pb.AuditReferencesResponse(dangling=_dangling_to_pb(step))
        case Repaired():
            repaired = pb.RepairedReference(column=step.column, id=str(step.id), rows=step.rows)
            return pb.AuditReferencesResponse(repaired=repaired)
        case Undecided():
            undecided = pb.UndecidedReferences(column=step.column, ids=map(str, step.ids), why=step.why)
            return pb.AuditReferencesResponse(undecided=undecided)
        case End():
            end = pb.AuditEnd(
                columns=step.columns, things_asked=step.things_asked, dangling=step.dangling, rows_dangling=step.rows_dangling,
                rows_repaired=step.rows_repaired, undecided=step.undecided,
            )  # fmt: skip
            return pb.AuditReferencesResponse(end=end)


def _dangling_to_pb(found: Dangling) -> pb.DanglingReference:
    return pb.DanglingReference(
        column=found.column,
        id=str(found.id),
        station_id=str(found.tenant or ""),
        rows=found.rows,
        first_seen_time=_timestamp(found.first_seen),
        on_delete=found.rule.value,  # type: ignore[arg-type]  # a number of that enum
    )


def _timestamp(instant: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(instant)
    return made
