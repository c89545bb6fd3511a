"""What a write refers to is known before its transaction opens; only a miss asks the owner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from dbcommon.references.answers import Answer
from dbcommon.references.known import KnownRows
from dbcommon.references.states import Referent
from faults import ReferenceClosed, ReferenceNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A reference that a write is about to make."""

    field: str
    type: str
    id: UUID
    tenant: UUID | None = None


class Owner(Protocol):
    """Somebody who can be asked."""

    async def check(self, type: str, items: Sequence[tuple[UUID | None, UUID]]) -> Sequence[Answer]:
        """Answers each item in order."""


class References:
    """Makes sure, before a transaction opens, that what a write refers to is known; only a miss asks its owner."""

    def __init__(self, known: Mapping[str, KnownRows], owners: Mapping[str, Owner]) -> None:
        """`known` by type, `owners` by service name."""
        self._known = known
        self._owners = owners

    async def ensure_known(self, wanted: Sequence[Wanted]) -> None:
        """Raises ReferenceNotFound, ReferenceClosed, PeerUnavailable, FeedStale. Whether what is known is open, the guard decides."""
        for type in sorted({reference.type for reference in wanted}):
            known = self._known[type]
            asked = [reference for reference in wanted if reference.type == type]
            missing = set(await known.missing([reference.id for reference in asked]))
            if missing:
                await self._ask(known, [reference for reference in asked if reference.id in missing])

    async def ensure_open(self, wanted: Wanted) -> None:
        """Asks the owner, whatever is known here, and stores the answer where nothing is (rule 8: what money refers to).

        Raises ReferenceNotFound, ReferenceClosed, PeerUnavailable, FeedStale. The guard decides again.
        """
        known = self._known[wanted.type]
        answers = await self._answers(known, [wanted])
        if await known.missing([wanted.id]):
            await known.store(answers)

    async def _ask(self, known: KnownRows, references: Sequence[Wanted]) -> None:
        await known.store(await self._answers(known, references))

    async def _answers(self, known: KnownRows, references: Sequence[Wanted]) -> dict[UUID, Answer]:
        items = [(reference.tenant, reference.id) for reference in references]
        answers = await self._owners[known.owner].check(known.type, items)
        for reference, answer in zip(references, answers, strict=True):
            if answer.state == Referent.NOT_FOUND:
                message = f"{reference.field}: there is no such {known.type}"
                raise ReferenceNotFound(message, field=reference.field, type=known.type)
            if answer.state != Referent.OPEN:
                message = f"{reference.field}: the {known.type} is not in use"
                raise ReferenceClosed(message, field=reference.field, type=known.type)
        return {reference.id: answer for reference, answer in zip(references, answers, strict=True)}
