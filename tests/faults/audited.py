"""What the services themselves say of their references, asked as `make audit` asks them."""

from collections import Counter
from pathlib import Path
from uuid import UUID

from teppan.common.v1 import audits_pb2 as pb

from audit import streams
from tests.deployed import eventually
from tests.faults.checks import Found


async def audited(described: Path) -> Found:
    """What dangles, by column and what it refers to.

    Asks again while a column is undecided, as an operator does: who was just killed is not reached by everybody at once.
    """
    answers: list[Found] = []

    async def decided() -> bool:
        found, undecided = await _once(described)
        answers.append(found)
        return not undecided

    await eventually(decided)
    return answers[-1]


async def _once(described: Path) -> tuple[Found, list[str]]:
    """What dangles, and what is undecided."""
    found: Counter[tuple[str, UUID]] = Counter()
    undecided: list[str] = []

    def told(service: str, step: pb.AuditReferencesResponse) -> None:
        if step.HasField("dangling"):
            found[f"{service}.{step.dangling.column}", UUID(step.dangling.id)] += step.dangling.rows
        if step.HasField("undecided"):
            undecided.append(f"{service}: {step.undecided}")

    failed = await streams.ask(streams.load(described), streams.wanted(""), repair=False, told=told)
    return dict(found), [*undecided, *failed.values()]
