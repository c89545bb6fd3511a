"""SQL as it is written, and as Postgres gets it: compiled once, then only looked up.

Statements name their parameters (`:station_id`), and compile to Postgres' numbered ones. The few that are made of a table's columns
are made when a module is imported, or by functions that remember what they made.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import asyncpg
from sqlalchemy import Table, text
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from rowwire import Type

COMPILED_MAX = 4_096
"""More than there are in the code: what is put together of names of tables and columns, and never of values."""
DIALECT: Any = PGDialect_asyncpg()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its dialects' constructors untyped


TYPES = {
    "UUID": Type.UUID, "TEXT": Type.TEXT, "BYTEA": Type.BYTES, "BOOLEAN": Type.BOOL, "SMALLINT": Type.INT2, "INTEGER": Type.INT4,
    "BIGINT": Type.INT8, "TIMESTAMP WITH TIME ZONE": Type.TIMESTAMPTZ, "DATE": Type.DATE, "TIME WITHOUT TIME ZONE": Type.TIME,
}  # fmt: skip


class Row(asyncpg.Record):  # type: ignore[misc]  # asyncpg's stubs make it generic
    """A row whose columns can be named as attributes too."""

    def __getattr__(self, name: str) -> Any:
        """Returns the column of that name."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Rows(list[Any]):
    """What a statement returned: rows, as `Row` has them."""

    def first(self) -> Any:
        """Returns the first row, or None."""
        return self[0] if self else None

    def one(self) -> Any:
        """Returns the only row. Raises AssertionError where there is another number of them."""
        if len(self) != 1:
            raise AssertionError(f"one row was expected, and there are {len(self)}")
        return self[0]

    def value(self) -> Any:
        """Returns the first column of the only row."""
        return self.one()[0]

    def value_or_none(self) -> Any:
        """Returns the first column of the first row; None where there is none."""
        return self[0][0] if self else None

    def column(self) -> list[Any]:
        """Returns the first column of all rows."""
        return [row[0] for row in self]


@lru_cache(maxsize=COMPILED_MAX)
def compiled(sql: str) -> tuple[str, Sequence[str]]:
    """Returns a statement with numbered parameters, and the names of its parameters in order."""
    made = text(sql).compile(dialect=DIALECT)
    return str(made), tuple(made.positiontup or ())


def arguments(names: Sequence[str], parameters: Mapping[str, Any] | None) -> Sequence[Any]:
    """Returns the values in the order of the names; those that no name asks for are left out."""
    return [parameters[name] for name in names] if parameters else ()


def inserting(table: Table, names: Iterable[str]) -> str:
    """Returns the INSERT of one row with these columns, each a parameter of its name."""
    return _inserting(table, tuple(names))


@lru_cache(maxsize=COMPILED_MAX)
def _inserting(table: Table, names: Sequence[str]) -> str:
    return f"INSERT INTO {table.fullname} ({_listed(names)}) VALUES ({', '.join(f':{name}' for name in names)})"


def inserting_all(table: Table, names: Iterable[str]) -> str:
    """Returns the INSERT of many rows with these columns, each parameter the list of one column's values (see `lists`)."""
    names = tuple(names)
    arrays = ", ".join(f"CAST(:{name} AS {table.c[name].type.compile(DIALECT)}[])" for name in names)
    return f"INSERT INTO {table.fullname} ({_listed(names)}) SELECT * FROM unnest({arrays})"


def updating(table: Table, names: Iterable[str]) -> str:
    """Returns the UPDATE that sets these columns, each to a parameter of its name; WHERE is the caller's."""
    return f"UPDATE {table.fullname} SET " + ", ".join(f"{name} = :{name}" for name in names)


def typed(table: Table, names: Iterable[str]) -> list[tuple[str, Type]]:
    """Returns columns of a table with the types that they have in Postgres' binary format."""
    return [(name, TYPES[table.c[name].type.compile(DIALECT)]) for name in names]


def selecting(table: Table, names: Iterable[str]) -> str:
    """Returns what to SELECT so that columns come in the types of `typed`, whatever a newer migration has made of them.

    A cast to the type that a column has costs nothing. It has the column's name, and ORDER BY may use it.
    """
    return ", ".join(f"CAST({name} AS {table.c[name].type.compile(DIALECT)}) AS {name}" for name in names)


def lists(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Returns the values of each column, of rows that all have the same ones; for `inserting_all`."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
