"""An event that lies aside has not arrived: its entity is neither closed nor referred to, and only its entity."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from bookings.tables import known_stations, schedules
from dbcommon.database import Database, Transaction
from dbcommon.failures import violated
from dbcommon.references import Known, KnownRows, Referent
from dbcommon.statements import inserting
from faults import FeedStale
from ids import new_id
from local.database import Server
from tests.integration.aside import EPOCH, TYPE, Follower, follower_on

BAD, GOOD = new_id(), new_id()
FACTS = {"code": "X", "time_zone": "UTC", "currency_code": "EUR"}


@dataclass(frozen=True)
class Answer:
    """What identity answered."""

    epoch: UUID = EPOCH
    state: int = Referent.OPEN
    version: int = 1
    facts: Any = None


@dataclass
class Stations:
    """The known stations of bookings, and who follows them."""

    follower: Follower
    known: KnownRows
    app: Database
    broken: set[UUID]

    async def follow(self) -> None:
        await self.follower.follow()
        await self.known.closing.take_turn()

    async def rows(self) -> dict[UUID, tuple[Known, int]]:
        """State and version by station."""
        async with self.follower.platform.transaction(read_only=True) as tx:
            found = await tx.execute("SELECT id, state, version FROM bookings.known_stations")
            return {row.id: (Known(row.state), row.version) for row in found}

    async def refers(self, station: UUID) -> str | None:
        """Writes a row that refers to a station; the name under which that was refused."""
        try:
            async with self.app.transaction(tenant=station) as tx:
                row = {"station_id": station, "version": 1, "update_time": datetime.now(UTC)}
                await tx.execute(inserting(schedules, row), row)
        except asyncpg.IntegrityConstraintViolationError as error:
            return violated(error)
        async with self.app.transaction(tenant=station) as tx:
            await tx.execute("SELECT 1")
        return None


@pytest.fixture
async def stations(server: Server, database: str) -> AsyncIterator[Stations]:
    """Two stations that are known and open; whatever comes of the first one fails."""
    app = Database(server.url(database, "bookings_app"), pool_size=1)
    async with follower_on(server, database) as follower:
        known = KnownRows(follower.platform, known_stations, owner="identity", type=TYPE, facts=lambda _: FACTS)
        made = Stations(follower, known, app, set())

        async def apply(tx: Transaction, event: Any) -> None:
            if UUID(event.entity_id) in made.broken:
                raise ValueError("it cannot be applied")
            await known.apply(tx, event)

        follower.inbox._handlers, follower.parked._handlers = {TYPE: apply}, {"identity": {TYPE: apply}}
        follower.stream.tell(BAD, GOOD)
        await made.follow()
        await known.store({BAD: Answer(), GOOD: Answer()})
        made.broken.add(BAD)
        yield made
    await app.close()


async def test_while_a_closing_lies_aside_the_row_is_not_closed_and_nothing_new_refers_to_it(stations: Stations) -> None:
    stations.follower.stream.tell(BAD, state=Referent.CLOSED)
    await stations.follow()
    assert await stations.rows() == {BAD: (Known.OPEN, 1), GOOD: (Known.OPEN, 1)}
    assert await stations.refers(BAD) == "schedules_station_id_ready"
    assert await stations.refers(GOOD) is None
    await stations.follower.attempts(10)
    assert await stations.refers(BAD) == "schedules_station_id_ready"


async def test_once_it_is_replayed_the_row_is_closed_at_its_version(stations: Stations) -> None:
    stations.follower.stream.tell(BAD, state=Referent.CLOSED)
    await stations.follow()
    stations.broken.clear()
    await stations.follower.attempts(1)
    assert await stations.rows() == {BAD: (Known.CLOSING, 2), GOOD: (Known.OPEN, 1)}
    await stations.known.closing.take_turn()
    assert await stations.rows() == {BAD: (Known.CLOSED, 2), GOOD: (Known.OPEN, 1)}
    assert await stations.refers(BAD) == "schedules_station_id_open"


async def test_a_closing_and_a_reopening_behind_it_end_open_and_usable(stations: Stations) -> None:
    stations.follower.stream.tell(BAD, state=Referent.CLOSED)
    stations.follower.stream.tell(BAD)
    await stations.follow()
    stations.broken.clear()
    await stations.follower.attempts(1)
    assert (await stations.rows())[BAD] == (Known.OPEN, 3)
    assert await stations.refers(BAD) is None


async def test_a_column_that_was_not_registered_before_the_handshake_refers_to_nothing(stations: Stations) -> None:
    """As after a release that adds it, while code of before leads (rule 6)."""
    async with stations.follower.platform.transaction() as tx:
        await tx.execute("UPDATE bookings.feed_state SET ready_columns = array_remove(ready_columns, 'schedules.station_id')")
    assert await stations.refers(GOOD) == "schedules_station_id_ready"
    stations.follower.stream.tell(BAD)
    await stations.follow()
    assert await stations.refers(GOOD) is None


async def test_after_a_restart_the_service_gets_ready_for_all_entities_but_the_one_whose_event_lies_aside(
    stations: Stations,
) -> None:
    async with stations.follower.platform.transaction() as tx:
        await tx.execute("UPDATE bookings.feed_state SET ready_incarnation = 'another life'")
    assert await stations.refers(GOOD) == "schedules_station_id_ready"
    stations.follower.stream.tell(BAD, state=Referent.CLOSED)
    await stations.follow()
    assert await stations.refers(GOOD) is None
    assert await stations.refers(BAD) == "schedules_station_id_ready"


async def test_an_answer_of_the_owner_does_not_overtake_an_event_that_lies_aside(stations: Stations) -> None:
    unknown = new_id()
    stations.broken.add(unknown)
    stations.follower.stream.tell(unknown, state=Referent.CLOSED)
    await stations.follow()
    with pytest.raises(FeedStale):
        await stations.known.store({unknown: Answer(version=2)})
    assert unknown not in await stations.rows()


async def test_what_was_dropped_does_not_count_as_applied(stations: Stations) -> None:
    stations.follower.stream.tell(BAD, state=Referent.CLOSED)
    await stations.follow()
    await stations.follower.parked.drop(UUID(stations.follower.stream.events[-1].event_id), by="Ann", reason="not needed")
    assert (await stations.rows())[BAD] == (Known.OPEN, 1)
