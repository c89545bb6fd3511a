"""What becomes of rows that refer to a thing that is gone for ever: CASCADE deletes them, NULLIFY empties the column (rule 5)."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import structlog

from dbcommon.database import Database, Transaction
from dbcommon.failures import violated
from dbcommon.references.known import KnownRows
from dbcommon.references.states import Known
from faults import LockTimeout
from referring import Column, Rule

BATCH = 1_000
"""Rows changed in one transaction: the feed of their owner may wait for it."""
DUE_BATCH = 500
POLL_SECONDS = 1.0
DUE = f"gone AND state = {Known.CLOSED:d}"
"""Of a known row: a literal, since a partial index is chosen by it."""

log = structlog.get_logger()


class Consequences:
    """Applies what is due, in the process that is elected. That it is due is in the known row, so a kill loses nothing."""

    def __init__(self, platform: Database, known: Sequence[KnownRows], columns: Sequence[Column]) -> None:
        """`columns` are those of this service."""
        self._platform = platform
        self._known = known
        self._columns = [column for column in columns if column.rule in (Rule.CASCADE, Rule.NULLIFY)]

    async def run(self) -> None:
        """Endless; beside the consumer, which does not wait for it."""
        while True:
            await self.step()
            await asyncio.sleep(POLL_SECONDS)

    async def step(self) -> None:
        """Applies everything that is due, once."""
        for known in self._known:
            columns = [column for column in self._columns if column.type == known.type]
            after = None
            while due := await self._due(known, after):
                for id in due:
                    await self._try(known, id, columns)
                after = due[-1]

    async def _due(self, known: KnownRows, after: UUID | None) -> Sequence[UUID]:
        """Whose CASCADE and NULLIFY are due, by ID, some of them: what is gone, and has been closed."""
        found = f"SELECT {known.key} FROM {known.table.fullname} WHERE {DUE} AND {known.key} > :after ORDER BY {known.key} LIMIT {DUE_BATCH}"
        return (await self._platform.look(found, {"after": after or UUID(int=0)})).column()

    async def _try(self, known: KnownRows, id: UUID, columns: Sequence[Column]) -> None:
        told = {"type": known.type, "id": str(id)}
        try:
            for column in columns:
                while await self._change(known, id, column) == BATCH:
                    continue
            if await self._mark(known, id, columns):
                log.info("nothing is left of what referred to a thing that is gone", **told)
        except LockTimeout:
            log.warning("a row that refers to a thing that is gone is locked", **told)
        except (
            asyncpg.IntegrityConstraintViolationError
        ) as error:  # rows that a restored backup brought back: an operator's, the others do not wait
            log.error("a row that refers to a thing that is gone is needed by another", **told, constraint=violated(error))

    async def _change(self, known: KnownRows, id: UUID, column: Column) -> int:
        """Deletes or empties some rows of a column, in a transaction of its own; how many."""
        statement = change(column, f"{column.name} = :id")
        async with self._platform.transaction() as tx:
            if not await _lock_due(tx, known, id):
                return 0
            return await tx.count(statement, {"id": id})

    async def _mark(self, known: KnownRows, id: UUID, columns: Sequence[Column]) -> bool:
        """PURGED, where nothing is left; whether it is."""
        async with self._platform.transaction() as tx:
            if not await _lock_due(tx, known, id):
                return False
            for column in columns:
                left = f"SELECT EXISTS (SELECT FROM {column.service}.{column.table} WHERE {column.name} = :id)"
                if (await tx.execute(left, {"id": id})).value():
                    return False
            await tx.execute(f"UPDATE {known.table.fullname} SET state = {Known.PURGED:d} WHERE {known.key} = :id", {"id": id})
        return True


async def _lock_due(tx: Transaction, known: KnownRows, id: UUID) -> bool:
    """Whether something of it is due, and stays so until the transaction ends."""
    lock = f"SELECT FROM {known.table.fullname} WHERE {known.key} = :id AND {DUE} FOR NO KEY UPDATE"
    return (await tx.execute(lock, {"id": id})).first() is not None


def change(column: Column, some: str) -> str:
    """The statement that does to some rows of a column, at most `BATCH`, what its rule says; `some` is a condition."""
    table = f"{column.service}.{column.table}"
    changed = f"DELETE FROM {table}" if column.rule is Rule.CASCADE else f"UPDATE {table} SET {column.name} = NULL"
    # The condition again beside the place: who waited for another's change must look at what is there now.
    return f"{changed} WHERE {some} AND ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {some} LIMIT {BATCH}))"
