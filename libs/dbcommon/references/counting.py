"""What is left here of references to a thing on its way out: the answer is the acknowledgement that nothing new will refer to it."""

from collections.abc import Sequence
from uuid import UUID

from dbcommon import parked
from dbcommon.database import Database, Transaction
from dbcommon.references.known import KnownRows
from dbcommon.references.states import Known
from faults import InvalidArgument, NotClosedYet
from referring import Column, Rule

COUNT_MAX = 1_000
"""More are not counted."""


class CannotCount(Exception):
    """This connection would not see all rows, and must not say that there are none."""


class Counting:
    """Counts the rows that refer to a thing, with the role that sees those of all tenants (rule 4)."""

    def __init__(self, platform: Database, service: str, known: Sequence[KnownRows], columns: Sequence[Column]) -> None:
        """`columns` are those of this service."""
        self._platform = platform
        self._service = service
        self._known = {each.type: each for each in known}
        self._columns = [column for column in columns if column.rule is not Rule.KEEP]

    async def count(self, type: str, id: UUID, *, epoch: UUID, version: int) -> Sequence[tuple[Column, int]]:
        """How many rows are left for each column that refers to the type. Raises NotClosedYet, InvalidArgument, CannotCount."""
        columns = [column for column in self._columns if column.type == type]
        if not columns or type not in self._known:
            raise InvalidArgument({"type": f"nothing in {self._service} refers to a {type}"})
        known = self._known[type]
        async with self._platform.transaction(read_only=True) as tx:
            await self._assert_sees_all(tx, sorted({known.table.name, *(column.table for column in columns)}))
            await self._assert_closed(tx, known, id, epoch, version)  # before it counts: a write may commit in between
            return [(column, await self._left(tx, column, id)) for column in columns]

    async def _assert_sees_all(self, tx: Transaction, tables: Sequence[str]) -> None:
        """Under forced row-level security a wrong role counts 0, without an error."""
        role = "SELECT current_user = :role AS platform, pg_is_in_recovery() AS standby"
        found = (await tx.execute(role, {"role": f"{self._service}_platform"})).one()
        if not found.platform or found.standby:
            raise CannotCount("references are counted by the platform's role, on the primary")
        shown = (
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = to_regnamespace(:schema) AND c.relname = ANY(:tables)"
            " AND (NOT c.relrowsecurity OR (SELECT bool_or(p.polpermissive AND pg_get_expr(p.polqual, p.polrelid) = 'true')"
            "   AND bool_and(p.polpermissive) FROM pg_policy p WHERE p.polrelid = c.oid AND p.polcmd IN ('*', 'r')"
            "   AND p.polroles && ARRAY[0::oid, (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user)]))"
        )
        seen: Sequence[str] = (await tx.execute(shown, {"schema": self._service, "tables": list(tables)})).column()
        if hidden := sorted(set(tables) - set(seen)):
            raise CannotCount(f"no policy shows the platform's role all rows of {', '.join(hidden)}")

    async def _assert_closed(self, tx: Transaction, known: KnownRows, id: UUID, epoch: UUID, version: int) -> None:
        """Raises NotClosedYet unless this is what the feed of the thing's owner led to, in the epoch that it is in."""
        key = next(iter(known.table.primary_key)).name
        closed = (
            f"SELECT FROM {self._service}.{known.table.name} k JOIN {self._service}.feed_state s ON s.owner = :owner"
            f" WHERE k.{key} = :id AND k.state IN ({Known.CLOSED:d}, {Known.PURGED:d})"
            "  AND k.epoch = :epoch AND k.version = :version AND s.epoch = :epoch"
            f" AND NOT {parked.lies_aside(self._service, known.owner, ':id')}"
        )
        values = {"owner": known.owner, "id": id, "epoch": epoch, "version": version}
        if not (await tx.execute(f"SELECT EXISTS ({closed})", values)).value():
            raise NotClosedYet(f"the {known.type} is not closed in {self._service} at that version yet", type=known.type, id=id)

    async def _left(self, tx: Transaction, column: Column, id: UUID) -> int:
        some = f"SELECT FROM {column.service}.{column.table} WHERE {column.name} = :id LIMIT {COUNT_MAX}"
        return int((await tx.execute(f"SELECT count(*) FROM ({some}) n", {"id": id})).value())
