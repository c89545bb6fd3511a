"""Bookings that audits what it refers to at identity: on a real Postgres, with an identity that says what a test wants it to say."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from auditing import End, Step
from bookings.tables import metadata
from dbcommon.audit import Auditor, Observer
from dbcommon.database import assert_idle
from dbcommon.references import Referent
from local.database import Server
from tests.integration.referrer import COLUMNS, EPOCH, STATION, USER, Answer, Referrer, referrer_on

HEAD = 10
"""How far identity's feed is, and is applied here."""
ADMIN = "an admin"
SLOTS = "slots.station_id"
SCHEDULES = "schedules.station_id"
CUSTOMERS = "customers.station_id"
LOGINS = "customers.user_id"
Hook = Callable[[], Awaitable[None]]


@dataclass
class Identity:
    """Everything is there and open, but what is `gone`."""

    gone: dict[UUID, Referent] = field(default_factory=dict)
    lies: list[set[UUID]] = field(default_factory=list)
    """What each next answer says is not there, whatever is."""
    epochs: list[UUID] = field(default_factory=list)
    """Those of the next answers; then EPOCH."""
    faults: list[Exception | None] = field(default_factory=list)
    """What the next questions meet with."""
    head_at: tuple[UUID, int] = (EPOCH, HEAD)
    asked: list[list[UUID]] = field(default_factory=list)
    meanwhile: Hook | None = None
    """Happens whenever the head is asked for."""

    async def check(self, type: str, items: Sequence[tuple[UUID | None, UUID]]) -> Sequence[Answer]:
        """As an owner does, in one epoch."""
        assert_idle()
        assert type in {STATION, USER}
        self.asked.append([id for _, id in items])
        if self.faults and (fault := self.faults.pop(0)):
            raise fault
        lie = self.lies.pop(0) if self.lies else set()
        epoch = self.epochs.pop(0) if self.epochs else EPOCH
        states = [Referent.NOT_FOUND if id in lie else self.gone.get(id, Referent.OPEN) for _, id in items]
        return [Answer(state=state, epoch=epoch) for state in states]

    async def head(self) -> tuple[UUID, int]:
        """The end of its feed."""
        assert_idle()
        if self.meanwhile is not None:
            await self.meanwhile()
        return self.head_at


@dataclass
class Audited:
    """What an audit works on."""

    referrer: Referrer
    identity: Identity
    outside: asyncpg.Connection
    """Sees and may do everything."""
    feed_seconds: float = 0.3
    fresh_seconds: float = 5.0
    things_a_second: float = 1e9

    @property
    def auditor(self) -> Auditor:
        """Another process, each time."""
        owners, platform = {"identity": self.identity}, self.referrer.platform
        return Auditor(
            platform, metadata, list(self.referrer.known.values()), COLUMNS, owners,
            observer=Observer(platform, "bookings", owners, feed_seconds=self.feed_seconds),
            fresh_seconds=self.fresh_seconds, things_a_second=self.things_a_second,
        )  # fmt: skip

    async def run(self, *columns: str, repair: bool = False) -> list[Step]:
        """All that an audit says."""
        return [step async for step in self.auditor.run(columns, repair_by=ADMIN if repair else None)]

    async def said(self, kind: type[Any], *columns: str, repair: bool = False) -> list[Any]:
        """What it says of one kind."""
        return [step for step in await self.run(*columns, repair=repair) if isinstance(step, kind)]

    async def end(self, *columns: str, repair: bool = False) -> End:
        """What it says last."""
        last = (await self.run(*columns, repair=repair))[-1]
        assert isinstance(last, End)
        return last

    async def plants(self, statement: str, *values: Any) -> None:
        """Writes past all triggers and keys, as a restore does."""
        async with self.outside.transaction():
            await self.outside.execute("SET LOCAL session_replication_role = replica")
            await self.outside.execute(statement, *values)

    async def brought_back(self, count: int) -> UUID:
        """A station that is nowhere known, with so many slots."""
        station = uuid4()
        await self.plants(
            "INSERT INTO bookings.slots SELECT $1, date '2030-01-01' + n, '12:00', now(), now(), 2 FROM generate_series(1, $2) n",
            station,
            count,
        )
        self.identity.gone[station] = Referent.NOT_FOUND
        return station

    async def slots(self, station: UUID) -> int:
        """How many there are."""
        count: int = await self.outside.fetchval("SELECT count(*) FROM bookings.slots WHERE station_id = $1", station)
        return count

    async def journal(self) -> list[tuple[Any, ...]]:
        """What was repaired: column, ID and by whom, with the number of rows."""
        rows = await self.outside.fetch(
            'SELECT "column", id, repaired_by, count(DISTINCT key) FROM bookings.reference_repairs GROUP BY 1, 2, 3 ORDER BY 1, 2'
        )
        return [tuple(row) for row in rows]

    async def found(self) -> dict[tuple[str, UUID], int]:
        """What is kept as dangling, with the number of rows."""
        rows = await self.outside.fetch('SELECT "column", id, rows FROM bookings.dangling_references')
        return {(row["column"], row["id"]): row["rows"] for row in rows}


@asynccontextmanager
async def audited_on(server: Server, database: str) -> AsyncIterator[Audited]:
    """Bookings, which has applied identity's feed up to its head."""
    async with referrer_on(server, database) as referrer:
        outside = await asyncpg.connect(server.url(database))
        await outside.execute("UPDATE bookings.feed_state SET position = $1", HEAD)
        yield Audited(referrer, Identity(), outside)
        await outside.close()
