"""A station that everybody writes to is closed all the same, while they go on."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from teppan.common.v1 import events_pb2
from teppan.identity.v1 import stations_pb2

from bookings.domain.slots import Slot, SlotKey
from bookings.store import slots as store
from bookings.tables import known_stations
from bookings.wire import heard
from dbcommon.database import Database
from dbcommon.inbox import STALE_SECONDS
from dbcommon.references import Known, KnownRows, Referent
from dbcommon.references.closing import LOCK_SECONDS, TURN_SECONDS
from dbcommon.statements import inserting
from faults import ReferenceClosed
from local.database import Server
from rpccommon.registry import registry
from tests.readiness import caught_up

STARVED_SECONDS = 8
WRITERS = 16
WRITTEN_MIN = 20 * WRITERS
EPOCH, STATION = uuid4(), uuid4()
START = datetime(2030, 1, 1, 12, tzinfo=UTC)


@dataclass
class Writers:
    """They write to one station without a gap: none commits before another has written, until the first is refused."""

    app: Database
    begun: int = 0
    written: int = 0
    refused: int = 0
    done: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def go_on(self) -> None:
        """What each of them does; who is refused tries again."""
        while not self.done:
            try:
                await self._write()
            except ReferenceClosed:
                self.refused += 1
                await self._tell()

    async def _write(self) -> None:
        self.begun += 1
        start = START + timedelta(days=self.begun)  # a slot that nobody else locks: the known row is all that they share
        key = SlotKey(date=start.date(), start=start.time())
        slot = Slot(key=key, start_time=start, end_time=start + timedelta(hours=1), capacity=1)
        async with self.app.transaction(tenant=STATION) as tx:
            await store.take_slot(tx, STATION, slot, None)
            self.written += 1
            overlapped = self.written + 1
            await self._tell()
            await self.until(overlapped)

    async def until(self, written: int) -> None:
        """Returns once so many have been written, or anybody was refused."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.written >= written or self.refused)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


@pytest.fixture
async def app(server: Server, database: str) -> AsyncIterator[Database]:
    opened = Database(server.url(database, "bookings_app"), pool_size=WRITERS)
    yield opened
    await opened.close()


@pytest.fixture
async def platform(server: Server, database: str) -> AsyncIterator[Database]:
    """Of a database that has caught up with identity, and knows the station as OPEN."""
    opened = Database(server.url(database, "bookings_platform"), pool_size=4)
    row = {"id": STATION, "epoch": EPOCH, "version": 1, "state": Known.OPEN.value}
    facts = {"code": "MITTE", "time_zone": "Europe/Berlin", "currency_code": "EUR"}
    async with opened.transaction() as tx:
        await tx.execute(caught_up("bookings", "identity", EPOCH))
        await tx.execute(inserting(known_stations, row | facts), row | facts)
    yield opened
    await opened.close()


async def close(platform: Database) -> float:
    """Applies the event that closes the station, in both steps; the seconds that it took."""
    known = KnownRows(platform, known_stations, owner="identity", type="identity.Station", facts=heard.station_facts)
    payload = AnyMessage()
    payload.Pack(stations_pb2.Station(code="MITTE", time_zone="Europe/Berlin", currency_code="EUR"))
    event = events_pb2.Event(
        entity_id=str(STATION), epoch=str(EPOCH), version=2, payload=payload,
        referent_state=Referent.CLOSED.value,  # type: ignore[arg-type]  # a number of that enum
    )  # fmt: skip
    begun = time.perf_counter()
    async with platform.transaction() as tx:
        await known.apply(tx, event)
    await known.closing.take_turn()
    return time.perf_counter() - begun


async def test_sixteen_writers_that_always_overlap_do_not_starve_the_close(app: Database, platform: Database) -> None:
    writers = Writers(app)
    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(writers.go_on())
        await writers.until(WRITTEN_MIN)
        assert not writers.refused
        async with asyncio.timeout(STARVED_SECONDS):  # starved: in one step it waits without an end, and no lock timeout fires
            seconds = await close(platform)
        writers.done = True
    print(f"closed in {seconds * 1e3:.0f} ms, under {WRITERS} writers who had written {writers.written} times")  # noqa: T201  # the figure is to be seen: pytest -s
    assert writers.refused
    async with platform.transaction(read_only=True) as tx:
        found = await tx.execute("SELECT state FROM bookings.known_stations WHERE id = :id", {"id": STATION})
        assert found.value() == Known.CLOSED
    async with app.transaction(tenant=STATION, read_only=True) as tx:
        assert (await tx.execute("SELECT count(*) FROM bookings.slots")).value() == writers.written


def test_turns_of_closing_end_long_before_the_feed_that_waits_for_them_is_stale() -> None:
    types = Counter(owner for owner, _ in {(column.service + column.owner, column.type) for column in registry()})
    assert max(types.values()) * (TURN_SECONDS + LOCK_SECONDS) < STALE_SECONDS / 2
