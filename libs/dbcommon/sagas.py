"""What was begun across services and has not ended: counted for metrics, listed for operators.

A service names its kinds, each with the statement that finds them; nothing else is kept of a saga than the rows that it is about.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dbcommon.database import Database
from dbcommon.statements import Row

LISTED_MAX = 100
"""Of each kind, the oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of saga."""

    name: str
    waits_for: str
    """Whose turn it is, in a phrase for operators."""
    unfinished: str
    """SELECT of `entity_id`, `station_id` (or NULL::uuid), `since`; the platform's role runs it often: an index should lead it."""


class Sagas:
    """The unfinished sagas of one service."""

    def __init__(self, platform: Database, kinds: Sequence[Kind]) -> None:
        """Asks nothing yet."""
        self._platform = platform
        self._kinds = kinds

    @property
    def names(self) -> Sequence[str]:
        """Of all kinds."""
        return [kind.name for kind in self._kinds]

    async def counts(self) -> Sequence[Row]:
        """By `kind`, how many are `unfinished`, and for how many `seconds` the oldest of them has been: 0 where none is."""
        return await self._each(
            "SELECT '{name}' AS kind, count(*) AS unfinished,"
            " coalesce(extract(epoch FROM now() - min(since)), 0)::float8 AS seconds FROM ({unfinished}) u"
        )

    async def oldest(self) -> Sequence[Row]:
        """Of each kind the oldest 100: `kind`, `entity_id`, `station_id`, `since`, `seconds`, and how many `unfinished` there are."""
        return await self._each(
            "(SELECT '{name}' AS kind, entity_id, station_id, since, extract(epoch FROM now() - since)::float8 AS seconds,"
            f" count(*) OVER () AS unfinished FROM ({{unfinished}}) u ORDER BY since, entity_id LIMIT {LISTED_MAX})"
        )

    def waits_for(self, name: str) -> str:
        """Whose turn it is in sagas of that kind."""
        return next(kind.waits_for for kind in self._kinds if kind.name == name)

    async def _each(self, select: str) -> Sequence[Row]:
        if not self._kinds:
            return []
        statement = " UNION ALL ".join(select.format(name=kind.name, unfinished=kind.unfinished) for kind in self._kinds)
        return await self._platform.look(statement)
