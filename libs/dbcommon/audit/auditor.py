"""The audit of a service's columns, one after the other, slowly: what it sees is said step by step, and kept."""

from asyncio import get_running_loop, sleep
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

import asyncpg
import structlog
from sqlalchemy import MetaData

from auditing import End, Progress, Repaired, Step, Undecided
from dbcommon.audit.columns import Audited, Thing, audited
from dbcommon.audit.findings import Findings
from dbcommon.audit.observing import NotGone, Observer, Owner, OwnerSilent, Seen
from dbcommon.audit.repairing import Repairs
from dbcommon.audit.scanning import BATCH_MAX, rows_about, scan
from dbcommon.database import Database
from dbcommon.failures import violated
from dbcommon.references.consequences import BATCH
from dbcommon.references.known import KnownRows
from faults import InvalidArgument, LockTimeout
from referring import Column

THINGS_A_SECOND = 1_000.0
FRESH_SECONDS = 5.0
"""A repair that rests on older observations observes again."""
FIRST_SECONDS = 300.0
EVERY_SECONDS = 86_400.0

REFUSED = asyncpg.IntegrityConstraintViolationError
log = structlog.get_logger()


class Auditor:
    """Audits what a service refers to, and repairs it where that is asked for."""

    def __init__(
        self, platform: Database, metadata: MetaData, known: Sequence[KnownRows], columns: Sequence[Column],
        owners: Mapping[str, Owner], *, observer: Observer | None = None, things_a_second: float = THINGS_A_SECOND,
        fresh_seconds: float = FRESH_SECONDS,
    ) -> None:  # fmt: skip
        """`metadata` and `columns` are the service's; `owners` by name."""
        service = str(metadata.schema)
        keys = {table.name: [column.name for column in table.primary_key] for table in metadata.sorted_tables}
        self._platform = platform
        self._columns = audited(known, columns)
        self._observer = observer or Observer(platform, service, owners)
        self.findings = Findings(platform, service)
        self._repairs = Repairs(platform, service, self.findings, keys)
        self._things_a_second = things_a_second
        self._fresh_seconds = fresh_seconds

    @property
    def columns(self) -> Sequence[str]:
        """Those that are audited."""
        return [column.name for column in self._columns]

    async def watch(self, *, first_seconds: float = FIRST_SECONDS, every_seconds: float = EVERY_SECONDS) -> None:
        """Audits all columns now and then, endlessly, and repairs nothing."""
        await sleep(first_seconds)
        while True:
            end = [step async for step in self.run() if isinstance(step, End)][-1]
            (log.error if end.dangling else log.info)(
                "the references were audited", columns=end.columns, things_asked=end.things_asked, dangling=end.dangling,
                rows_dangling=end.rows_dangling, undecided=end.undecided,
            )  # fmt: skip
            await sleep(every_seconds)

    async def run(self, columns: Sequence[str] = (), *, repair_by: str | None = None) -> AsyncGenerator[Step, None]:
        """The steps of an audit of these columns, or of all; its end is the last. Repairs where somebody asks for it.

        Raises InvalidArgument, and faults of this service's database.
        """
        unknown = {f"columns[{n}]": "no such column is audited here" for n, name in enumerate(columns) if name not in self.columns}
        if unknown:
            raise InvalidArgument(unknown)
        end = End()
        for column in self._columns:
            if not columns or column.name in columns:
                async for step in self._column(column, repair_by):
                    end.count(step)
                    yield step
        yield end

    async def _column(self, column: Audited, repair_by: str | None) -> AsyncIterator[Step]:
        since, about = await self.findings.now(), await rows_about(self._platform, column)
        asked, last, decided = 0, None, True
        yield _progress(column, about, about, asked)
        while True:
            batch = await scan(self._platform, column, last)
            async for step in self._batch(column, batch.things, repair_by):
                yield step
                if isinstance(step, Undecided):
                    decided = False
                    if not step.ids:
                        return
            asked, last = asked + len(batch.things), batch.last
            if last is None:
                break
            yield _progress(column, about, batch.rows_left, asked)
            await sleep(BATCH_MAX / self._things_a_second)
        if decided:  # what was found before may be among what is undecided now
            await self.findings.sweep(column, since)
        yield _progress(column, about, 0, asked, complete=True)

    async def _batch(self, column: Audited, things: Sequence[Thing], repair_by: str | None) -> AsyncIterator[Step]:
        for first in range(0, len(things), BATCH_MAX):
            part = things[first : first + BATCH_MAX]
            try:
                verdict = await self._observer.confirm(column, part)
            except OwnerSilent as silent:
                yield Undecided(column=column.name, ids=(), why=str(silent))
                return
            for undecided in _undecided(column, verdict.doubtful):
                yield undecided
            for thing, dangling in await self.findings.keep(column, list(verdict.gone)):
                yield dangling
                if repair_by is not None and column.repaired:
                    async for step in self._repair(column, thing, verdict.gone[thing], repair_by):
                        yield step

    async def _repair(self, column: Audited, thing: Thing, seen: Seen, by: str) -> AsyncIterator[Step]:
        """Repairs all rows of a thing, as long as it stays gone."""
        rows = BATCH
        while rows == BATCH:
            try:
                seen = await self._fresh(column, thing, seen)
                rows = await self._repairs.repair(column, thing, seen, by)
            except (OwnerSilent, NotGone, LockTimeout, REFUSED) as error:
                needed = f"a row that refers to it is needed by another: {violated(error)}" if isinstance(error, REFUSED) else ""
                yield Undecided(column=column.name, ids=[thing.id], why=needed or str(error))
                return
            if rows:
                log.warning("dangling references were repaired", column=column.name, id=str(thing.id), rows=rows, by=by)
                yield Repaired(column=column.name, id=thing.id, rows=rows)

    async def _fresh(self, column: Audited, thing: Thing, seen: Seen) -> Seen:
        """An observation that is not old: this one, or another. Raises NotGone, OwnerSilent."""
        if get_running_loop().time() - seen.at <= self._fresh_seconds:
            return seen
        verdict = await self._observer.confirm(column, [thing])
        if thing not in verdict.gone:
            raise NotGone(verdict.doubtful.get(thing, "it is there again"))
        return verdict.gone[thing]


def _progress(column: Audited, about: int, left: int, asked: int, *, complete: bool = False) -> Progress:
    scanned = max(0, about - left)
    return Progress(column=column.name, rows_scanned=scanned, rows_about=about, things_asked=asked, complete=complete)


def _undecided(column: Audited, doubtful: Mapping[Thing, str]) -> Sequence[Undecided]:
    """One for each reason."""
    return [
        Undecided(column=column.name, ids=sorted({thing.id for thing, each in doubtful.items() if each == why}), why=why)
        for why in sorted(set(doubtful.values()))
    ]
