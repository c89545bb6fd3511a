"""What rows refer to, by ID, some at a time: each in short read-only transactions, whatever the size of the table."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from dbcommon.audit.columns import TENANT, Audited, Thing
from dbcommon.database import Database, Transaction

BATCH_MAX = 1_000
"""Different IDs; as many as an owner is asked about at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some of what the rows of a column refer to."""

    things: Sequence[Thing]
    last: UUID | None
    """The last of their IDs, where others may follow."""
    rows_left: int
    """Rows behind it, by the planner's estimate."""


async def rows_about(platform: Database, column: Audited) -> int:
    """How many rows of the column have an ID, by the planner's estimate."""
    async with platform.transaction(read_only=True) as tx:
        return await _estimate(tx, column, None)


async def scan(platform: Database, column: Audited, after: UUID | None) -> Batch:
    """The next things behind an ID, or the first ones."""
    async with platform.transaction(read_only=True) as tx:
        ids: Sequence[UUID] = (await tx.execute(distinct(column, after), {} if after is None else {"after": after})).column()
        things = await _things(tx, column, ids)
        last = ids[-1] if len(ids) == BATCH_MAX else None
        return Batch(things=things, last=last, rows_left=0 if last is None else await _estimate(tx, column, last))


def distinct(column: Audited, after: UUID | None) -> str:
    """The statement for the next IDs: it skips from one to the next in the index, and does not read the rows between."""
    name, table = column.column.name, column.table
    behind = f"{name} IS NOT NULL" if after is None else f"{name} > :after"
    return (
        f"WITH RECURSIVE found AS ((SELECT {name} AS id FROM {table} WHERE {behind} ORDER BY {name} LIMIT 1) UNION ALL"
        f" SELECT (SELECT {name} FROM {table} WHERE {name} > f.id ORDER BY {name} LIMIT 1) FROM found f WHERE f.id IS NOT NULL)"
        f" SELECT id FROM found WHERE id IS NOT NULL LIMIT {BATCH_MAX}"
    )


async def _things(tx: Transaction, column: Audited, ids: Sequence[UUID]) -> Sequence[Thing]:
    if not column.tenanted:
        return [Thing(id, None) for id in ids]
    name = column.column.name
    pairs = f"SELECT DISTINCT {name} AS id, {TENANT} AS tenant FROM {column.table} WHERE {name} = ANY(:ids) ORDER BY 1, 2"
    return [Thing(row.id, row.tenant) for row in await tx.execute(pairs, {"ids": list(ids)})]


async def _estimate(tx: Transaction, column: Audited, after: UUID | None) -> int:
    name = column.column.name
    behind = f"{name} IS NOT NULL" if after is None else f"{name} > '{after}'::uuid"
    explained = (await tx.execute(f"EXPLAIN (FORMAT JSON) SELECT FROM {column.table} WHERE {behind}")).value()
    return int(json.loads(explained)[0]["Plan"]["Plan Rows"])
