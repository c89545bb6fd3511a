"""What dangles is removed by the rule of its column, some rows a transaction, each written down in that transaction."""

from collections.abc import Mapping, Sequence

from dbcommon import parked
from dbcommon.audit.columns import Audited, Thing
from dbcommon.audit.findings import Findings
from dbcommon.audit.observing import NotGone, Seen, known_as
from dbcommon.database import Database, Transaction
from dbcommon.references.consequences import BATCH, change
from referring import Rule


class Repairs:
    """Repairs the references of a service. What was killed in between is simply begun again: what is done is no longer there."""

    def __init__(self, platform: Database, service: str, findings: Findings, keys: Mapping[str, Sequence[str]]) -> None:
        """`keys` are the columns of the primary key by table."""
        self._platform = platform
        self._service = service
        self._findings = findings
        self._keys = keys

    async def repair(self, column: Audited, thing: Thing, seen: Seen, by: str) -> int:
        """Repairs some rows, and so all where they are fewer than `BATCH`; how many.

        Raises NotGone where the thing was heard of since; LockTimeout, and IntegrityError where something else needs the rows.
        """
        async with self._platform.transaction() as tx:
            if not await self._holds(tx, column, thing, seen):
                raise NotGone("it was heard of meanwhile")
            values = {"by": by, "column": column.name, "rule": column.column.rule.value, **column.values(thing)}
            repaired = await tx.count(self._journaled(column), values)
            if repaired < BATCH:
                await self._findings.forget(tx, column, thing)
            return repaired

    async def _holds(self, tx: Transaction, column: Audited, thing: Thing, seen: Seen) -> bool:
        """Whether nothing was heard of the thing since it was seen to be gone; nothing will be, until the transaction ends."""
        await parked.lock(tx, self._service, column.known.owner)
        epoch = f"SELECT epoch FROM {self._service}.feed_state WHERE owner = :owner"
        present = (await tx.execute(epoch, {"owner": column.known.owner})).value_or_none()
        row = (await tx.execute(known_as(column), {"ids": [thing.id]})).first()
        known = None if row is None else (row.epoch, row.version, row.state)
        return present == seen.epoch and known == seen.known

    def _journaled(self, column: Audited) -> str:
        name, key = column.column.name, self._keys[column.column.table]
        keys = ", ".join(f"'{each}', c.{each}" for each in key)
        was = "to_jsonb(c)" if column.column.rule is Rule.CASCADE else f"jsonb_build_object('{name}', :id)"
        return (
            f"WITH changed AS ({change(column.column, column.holds())} RETURNING *)"
            f' INSERT INTO {self._service}.reference_repairs (repaired_by, "column", id, rule, key, was)'
            f" SELECT :by, :column, :id, :rule, jsonb_build_object({keys}), {was} FROM changed c"
        )
