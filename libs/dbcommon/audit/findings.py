"""What audits have found to be dangling: kept until it is mended, or is there again."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from auditing import Dangling
from dbcommon.audit.columns import TENANT, Audited, Thing
from dbcommon.audit.observing import on_its_way
from dbcommon.database import Database, Transaction
from dbcommon.tenancy import NO_TENANT

ROWS_MAX = 1_000
"""Of one thing; more are not counted."""


class Findings:
    """The `dangling_references` of a service."""

    def __init__(self, platform: Database, service: str) -> None:
        """Asks nothing yet."""
        self._platform = platform
        self._table = f"{service}.dangling_references"

    async def now(self) -> datetime:
        """The database's clock, which says when something was seen."""
        now: datetime = (await self._platform.look("SELECT now()")).value()
        return now

    async def keep(self, column: Audited, things: Sequence[Thing]) -> Sequence[tuple[Thing, Dangling]]:
        """Records those of the things that rows refer to still; each with how many, and since when."""
        if not things:
            return []
        async with self._platform.transaction() as tx:
            counted = await self._counted(tx, column, things)
            kept = []
            for thing, rows in counted.items():
                first = await self._record(tx, column, thing, rows)
                kept.append((thing, _dangling(column, thing, rows, first)))
        return kept

    async def forget(self, tx: Transaction, column: Audited, thing: Thing) -> None:
        """Nothing refers to the thing any more."""
        delete = f'DELETE FROM {self._table} WHERE "column" = :column AND id = :id AND {TENANT} = :whose'
        await tx.execute(delete, _key(column, thing))

    async def sweep(self, column: Audited, since: datetime) -> None:
        """Forgets what an audit that saw the whole column, and began then, has not found again."""
        delete = f'DELETE FROM {self._table} WHERE "column" = :column AND last_seen < :since'
        async with self._platform.transaction() as tx:
            await tx.execute(delete, {"column": column.name, "since": since})

    async def rows(self) -> Mapping[str, int]:
        """How many rows dangle, by column; those only where some do."""
        statement = f'SELECT "column", sum(rows)::bigint AS rows FROM {self._table} GROUP BY "column"'
        return {row.column: row.rows for row in await self._platform.look(statement)}

    async def _counted(self, tx: Transaction, column: Audited, things: Sequence[Thing]) -> Mapping[Thing, int]:
        """Of which things rows are left, and how many; not those whose rows the purge is about to remove."""
        some = f"SELECT FROM {column.table} WHERE {column.holds('i.id', 'i.tenant')} LIMIT {ROWS_MAX}"
        others = f" WHERE NOT {on_its_way(column)}" if column.repaired else ""
        statement = (
            f"SELECT i.id, i.tenant, (SELECT count(*) FROM ({some}) n) AS rows"
            f" FROM unnest(CAST(:ids AS uuid[]), CAST(:tenants AS uuid[])) i(id, tenant){others}"
        )
        values = {"ids": [thing.id for thing in things], "tenants": [thing.tenant for thing in things]}
        return {Thing(row.id, row.tenant): row.rows for row in await tx.execute(statement, values) if row.rows}

    async def _record(self, tx: Transaction, column: Audited, thing: Thing, rows: int) -> datetime:
        insert = (
            f'INSERT INTO {self._table} AS d ("column", id, {TENANT}, rows) VALUES (:column, :id, :whose, :rows)'
            f' ON CONFLICT ("column", id, {TENANT}) DO UPDATE SET rows = excluded.rows, last_seen = excluded.last_seen'
            " RETURNING first_seen"
        )
        first: datetime = (await tx.execute(insert, {**_key(column, thing), "rows": rows})).value()
        return first


def _key(column: Audited, thing: Thing) -> dict[str, object]:
    return {"column": column.name, "id": thing.id, "whose": column.whose(thing) or NO_TENANT}


def _dangling(column: Audited, thing: Thing, rows: int, first: datetime) -> Dangling:
    return Dangling(
        column=column.name, id=thing.id, tenant=column.whose(thing), rows=rows, first_seen=first, rule=column.column.rule
    )  # fmt: skip
