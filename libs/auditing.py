"""What an audit of references says, step by step (see `dbcommon.audit`). Columns are named "table.column", of the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from referring import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the audit of a column is."""

    column: str
    rows_scanned: int
    """By the planner's estimate."""
    rows_about: int
    things_asked: int
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Dangling:
    """Rows that refer to a thing that is not there."""

    column: str
    id: UUID
    tenant: UUID | None
    """Whose rows they are; None for a thing of no tenant."""
    rows: int
    """At most 1,000: more are not counted."""
    first_seen: datetime
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """The rule of the column was applied to rows that referred to a thing that is not there."""

    column: str
    id: UUID
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided:
    """Neither seen to be there nor, twice, to be gone."""

    column: str
    ids: Sequence[UUID]
    """None where the owner does not answer: the rest of the column was not asked about."""
    why: str


@dataclass(slots=True, kw_only=True)
class End:
    """All of it: an audit that does not come to this broke off."""

    columns: int = 0
    things_asked: int = 0
    dangling: int = 0
    rows_dangling: int = 0
    rows_repaired: int = 0
    undecided: int = 0

    def count(self, step: "Step") -> None:
        """Adds a step to the totals."""
        match step:
            case Progress(complete=True):
                self.columns += 1
                self.things_asked += step.things_asked
            case Dangling():
                self.dangling += 1
                self.rows_dangling += step.rows
            case Repaired():
                self.rows_repaired += step.rows
            case Undecided():
                self.undecided += 1


Step = Progress | Dangling | Repaired | Undecided | End
