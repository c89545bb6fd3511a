"""A column that is audited, and what its rows refer to, in SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from dbcommon.references.known import KnownRows
from referring import Column, Rule

TENANT = "station_id"
"""The column of a tenant table that says whose a row is."""


class Thing(NamedTuple):
    """What rows refer to."""

    id: UUID
    tenant: UUID | None
    """Whose it must be; None for things that belong to none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """A column, and the known rows of what it refers to."""

    column: Column
    known: KnownRows

    @property
    def name(self) -> str:
        """As answers to questions name it."""
        return f"{self.column.table}.{self.column.name}"

    @property
    def table(self) -> str:
        """With its schema."""
        return f"{self.column.service}.{self.column.table}"

    @property
    def repaired(self) -> bool:
        """Whether its rule says what becomes of rows whose thing is gone."""
        return self.column.rule in {Rule.CASCADE, Rule.NULLIFY}

    @property
    def tenanted(self) -> bool:
        """Whether its things belong to a tenant each: then a thing of another tenant is not there."""
        return TENANT in self.known.table.c

    @property
    def known_key(self) -> str:
        """The column of the known rows that has the ID."""
        return next(iter(self.known.table.primary_key)).name

    def holds(self, id: str = ":id", tenant: str = ":tenant") -> str:
        """The condition that a row refers to a thing; both are expressions."""
        same = f" AND {TENANT} = {tenant}" if self.tenanted else ""
        return f"{self.column.name} = {id}{same}"

    def values(self, thing: Thing) -> dict[str, Any]:
        """What `holds` is about."""
        return {"id": thing.id, "tenant": thing.tenant} if self.tenanted else {"id": thing.id}

    def whose(self, thing: Thing) -> UUID | None:
        """Whose the rows are that refer to a thing, where they are all of one tenant."""
        return thing.id if self.column.name == TENANT else thing.tenant


def audited(known: Sequence[KnownRows], columns: Sequence[Column]) -> Sequence[Audited]:
    """Of a service's columns those that must not dangle."""
    types = {each.type: each for each in known}
    return [Audited(column=column, known=types[column.type]) for column in columns if column.rule is not Rule.KEEP]
