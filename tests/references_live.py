"""The lint of references in a live catalog: each check returns sentences, as those of `tests/references.py` do."""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping

import asyncpg

from local.database import KINDS, SERVICES
from referring import Column, Rule
from tests.references import name_of

Check = Callable[[str, tuple[str, str]], Awaitable[bool]]
"""Whether the owner of a type says of a thing, by station and ID, that it is in use."""
CROSSING = """SELECT k.conname, a.oid::regclass::text AS holder, b.oid::regclass::text AS target
    FROM pg_constraint k JOIN pg_class a ON a.oid = k.conrelid JOIN pg_class b ON b.oid = k.confrelid
    WHERE k.contype = 'f' AND a.relnamespace <> b.relnamespace ORDER BY k.conname"""
SEEN = """SELECT role, schema FROM unnest($1::text[]) role, unnest($2::text[]) schema
    WHERE NOT starts_with(role, schema || '_') AND has_schema_privilege(role, schema, 'USAGE, CREATE') ORDER BY role, schema"""
# A key to known rows, in the same schema: only their tables have a fence, and the column is to meet their own ID.
KEY = """SELECT target.oid::regclass::text FROM pg_constraint k JOIN pg_class target ON target.oid = k.confrelid
    JOIN pg_attribute fence ON fence.attrelid = target.oid AND fence.attname = 'fence'
    JOIN pg_index own ON own.indrelid = target.oid AND own.indisprimary
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attname = $2
    WHERE k.contype = 'f' AND k.conrelid = $1::regclass AND k.convalidated
      AND k.confkey[array_position(k.conkey, a.attnum)] = own.indkey[0]"""
# Before each row (1 + 2), at an insert (4) and at an update (16) of the column, whatever is in it; a guard that is switched off
# is none. Without SECURITY DEFINER it could not lock the known row, with another search path it might lock another table's.
GUARD = """SELECT pg_get_functiondef(f.oid) FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
    JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attname = $2
    WHERE t.tgrelid = $1::regclass AND t.tgname = $3 AND t.tgenabled IN ('O', 'A') AND t.tgqual IS NULL
      AND t.tgtype & 23 = 23 AND t.tgattr::int2[] <@ ARRAY[a.attnum]
      AND f.prosecdef AND f.provolatile = 'v' AND f.proconfig = ARRAY['search_path=pg_catalog, pg_temp']"""


async def crossing(catalog: asyncpg.Connection) -> list[str]:
    """Foreign keys from one schema into another."""
    return [
        f"{row['holder']} has a foreign key into another schema, {row['conname']} to {row['target']}: "
        "drop it, and declare a reference in the protos"
        for row in await catalog.fetch(CROSSING)
    ]


async def overlooking(catalog: asyncpg.Connection) -> list[str]:
    """Roles that can so much as see another service's schema."""
    roles = [f"{service}_{kind}" for service in SERVICES for kind in KINDS]
    return [
        f"{row['role']} sees the schema {row['schema']}: revoke it there, and ask {row['schema']} over gRPC"
        for row in await catalog.fetch(SEEN, roles, list(SERVICES))
    ]


async def unguarded(catalog: asyncpg.Connection, declared: Collection[Column]) -> list[str]:
    """Columns that must not dangle, and lack a key to a known row, or the guard that locks that row."""
    found = []
    for each in (column for column in declared if column.rule != Rule.KEEP):
        what, known, guard = f"{name_of(each)} is {each.rule.name}", await _key(catalog, each), await _guard(catalog, each)
        if known is None:
            found.append(f"{what}, and no foreign key to a known row: add one by a migration")
        if guard is None or (known is not None and not re.search(rf"FROM {known} k [^;]* FOR KEY SHARE;", guard)):
            found.append(f"{what}, and no guard locks its known row: add dbcommon.references.guard by a migration")
    return found


async def overguarded(catalog: asyncpg.Connection, declared: Collection[Column]) -> list[str]:
    """Columns that may dangle, and are kept from it."""
    return [
        f"{name_of(each)} may dangle (KEEP), and has a key or a guard: drop them, or declare another rule"
        for each in declared
        if each.rule == Rule.KEEP and (await _key(catalog, each) or await _guard(catalog, each))
    ]


async def unserved(declared: Collection[Column], things: Mapping[str, tuple[str, str]], check: Check) -> list[str]:
    """Types of which a known row is kept, and whose owner does not answer CheckReferences for a thing that is there.

    What only KEEP refers to needs no answer: its ID comes with another one's (rule 9).
    """
    found = []
    for type in sorted({each.type for each in declared if each.rule != Rule.KEEP}):
        if type not in things:
            found.append(f"nobody makes a {type} here: add one to the things of this test")
        elif not await check(type, things[type]):
            owner = type.partition(".")[0]
            found.append(f"{owner} does not know its own {type}: serve the type in CheckReferences ({owner}, Referents)")
    return found


async def _key(catalog: asyncpg.Connection, column: Column) -> str | None:
    """The table of known rows that a column has its key to."""
    known: str | None = await catalog.fetchval(KEY, f"{column.service}.{column.table}", column.name)
    return known


async def _guard(catalog: asyncpg.Connection, column: Column) -> str | None:
    """The function of a column's guard."""
    name = f"{column.table}_{column.name}_guard"
    function: str | None = await catalog.fetchval(GUARD, f"{column.service}.{column.table}", column.name, name)
    return function
