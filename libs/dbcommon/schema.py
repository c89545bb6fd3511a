"""How a service declares its schema: one MetaData, and beside each table who may do what with which rows.

`tables.py` of a service is the declaration; its migrations make it. `Schema.statements` renders the declaration, so that a
test can compare the two catalogs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import MetaData, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from dbcommon import tenancy

NAMING = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may do what with a table; verbs as in GRANT ("SELECT", "UPDATE (state)")."""

    app: Sequence[str] = ()
    """Of the application's role, on the rows of its tenant. Platform tables have none."""
    platform: Sequence[str] = ()
    """Of the role that crosses tenants."""
    tenant: str | None = None
    """The column that says whose a row is; None for a platform table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The schema of one service."""

    service: str
    metadata: MetaData
    access: Mapping[str, Access]
    """By table name; every table has an entry."""
    before: Sequence[str] = field(default_factory=tuple)
    """DDL that tables need, such as functions for defaults."""
    after: Sequence[str] = field(default_factory=tuple)
    """DDL that needs the tables: functions, triggers, grants on functions."""

    @property
    def tenant_tables(self) -> list[str]:
        """The tables that row-level security isolates."""
        return [name for name, access in self.access.items() if access.tenant]

    def statements(self) -> list[str]:
        """The whole DDL, in an order that runs."""
        made = list(self.before)
        for table in self.metadata.sorted_tables:
            made += _create(table)
        for name, access in self.access.items():
            if access.tenant:
                made += tenancy.policies(self.service, name, column=access.tenant, platform=bool(access.platform))
            for role, verbs in (("app", access.app), ("platform", access.platform)):
                if verbs:
                    made.append(f"GRANT {', '.join(verbs)} ON {self.service}.{name} TO {self.service}_{role}")
        return [*made, *self.after]


def metadata_of(service: str) -> MetaData:
    """The one MetaData of a service."""
    return MetaData(schema=service, naming_convention=NAMING)


def _create(table: Table) -> list[str]:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its dialects' constructors untyped
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    made: list[DDLElement] = [CreateTable(table), *map(CreateIndex, indexes)]
    return [str(statement.compile(dialect=dialect)).strip() for statement in made]
