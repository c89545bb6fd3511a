"""Known rows of stations and users follow their owner's events: closed in two steps, reopened, and never by old news."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from sqlalchemy import Table
from teppan.common.v1 import events_pb2
from teppan.identity.v1 import stations_pb2, users_pb2

from bookings.wire import heard
from dbcommon.database import Database
from dbcommon.references import Known, KnownRows, Referent
from local.database import Server
from payments.wire import heard as payments_heard

OLD, NEW = uuid4(), uuid4()
"""Two epochs."""
OPEN, CLOSED = Referent.OPEN, Referent.CLOSED
FACTS: Mapping[tuple[str, str], Callable[[AnyMessage], dict[str, Any]]] = {
    ("bookings", "known_stations"): heard.station_facts,
    ("bookings", "known_users"): heard.no_facts,
    ("payments", "known_stations"): payments_heard.no_facts,
}
"""Everything that follows identity, with what is kept of it."""


@dataclass(frozen=True)
class Stage:
    """The known rows of one table, and an entity of identity."""

    platform: Database
    known: KnownRows
    table: Table
    id: UUID

    async def hears(self, epoch: UUID, version: int, state: Referent) -> None:
        """Applies an event, as the transaction does that moves the cursor."""
        payload = AnyMessage()
        payload.Pack(users_pb2.User() if self.table.name == "known_users" else stations_pb2.Station(code=f"V{version}"))
        event = events_pb2.Event(
            entity_id=str(self.id), epoch=str(epoch), version=version, payload=payload,
            referent_state=state.value,  # type: ignore[arg-type]  # a number of that enum
        )  # fmt: skip
        async with self.platform.transaction() as tx:
            await self.known.apply(tx, event)

    async def row(self) -> tuple[UUID, int, Known]:
        """Epoch, version and state."""
        async with self.platform.transaction(read_only=True) as tx:
            statement = f"SELECT epoch, version, state FROM {self.table.fullname} WHERE id = :id"
            found = (await tx.execute(statement, {"id": self.id})).one()
        return found.epoch, found.version, Known(found.state)

    @asynccontextmanager
    async def referring(self) -> AsyncIterator[None]:
        """A write that refers to the entity is open: it holds what the guard's trigger takes."""
        lock = f"SELECT FROM {self.table.fullname} WHERE id = :id FOR KEY SHARE"
        async with self.platform.transaction() as tx:
            await tx.execute(lock, {"id": self.id})
            yield

    async def waits(self, task: "asyncio.Task[None]") -> bool:
        """Whether a task comes to wait for a lock, rather than to its end."""
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        async with asyncio.timeout(5):
            while not task.done():
                async with self.platform.transaction(read_only=True) as tx:
                    if (await tx.execute(waiting)).value():
                        return True
                await asyncio.sleep(0.01)
        return False


@pytest.fixture(params=FACTS, ids=".".join)
async def stage(server: Server, database: str, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    service, name = request.param
    table = importlib.import_module(f"{service}.tables").metadata.tables[f"{service}.{name}"]
    platform = Database(server.url(database, f"{service}_platform"), pool_size=4)
    known = KnownRows(platform, table, owner="identity", type="identity.Any", facts=FACTS[service, name])
    made = Stage(platform, known, table, uuid4())
    await made.hears(OLD, 2, CLOSED)
    await known.closing.take_turn()
    yield made
    await platform.close()


async def elsewhere(work: Any) -> None:
    """Runs as somebody else, who holds no transaction."""
    await asyncio.create_task(work, context=Context())


@pytest.mark.parametrize(
    ("epoch", "version", "state", "known"),
    [
        (OLD, 3, OPEN, Known.OPEN),
        (OLD, 2, OPEN, None),
        (OLD, 1, OPEN, None),
        (OLD, 3, CLOSED, Known.CLOSING),
        (OLD, 2, CLOSED, None),
        (OLD, 1, CLOSED, None),
        (NEW, 1, OPEN, Known.OPEN),
        (NEW, 2, OPEN, Known.OPEN),
        (NEW, 1, CLOSED, Known.CLOSING),
    ],
)
async def test_a_closed_row_follows_newer_news_and_any_of_another_epoch(
    stage: Stage, epoch: UUID, version: int, state: Referent, known: Known | None
) -> None:
    assert await stage.row() == (OLD, 2, Known.CLOSED)
    await stage.hears(epoch, version, state)
    assert await stage.row() == ((OLD, 2, Known.CLOSED) if known is None else (epoch, version, known))


async def test_a_reopened_row_is_not_closed_by_news_from_before(stage: Stage) -> None:
    await stage.hears(OLD, 3, OPEN)
    await stage.hears(OLD, 2, CLOSED)
    await stage.known.closing.take_turn()
    assert await stage.row() == (OLD, 3, Known.OPEN)


async def test_a_row_that_is_reopened_before_the_second_step_stays_open(stage: Stage) -> None:
    await stage.hears(OLD, 3, OPEN)
    async with stage.referring():
        await elsewhere(stage.hears(OLD, 4, CLOSED))
        closing = asyncio.create_task(stage.known.closing.take_turn(), context=Context())
        assert await asyncio.create_task(stage.waits(closing), context=Context())
        reopening = asyncio.create_task(stage.hears(OLD, 5, OPEN), context=Context())
    await asyncio.gather(closing, reopening)
    assert await stage.row() == (OLD, 5, Known.OPEN)


async def test_a_row_that_closes_waits_for_open_writes_in_its_second_step_only(stage: Stage) -> None:
    await stage.hears(OLD, 3, OPEN)
    async with stage.referring():
        first = asyncio.create_task(stage.hears(OLD, 4, CLOSED), context=Context())
        assert not await asyncio.create_task(stage.waits(first), context=Context())
        await first
        second = asyncio.create_task(stage.known.closing.take_turn(), context=Context())
        assert await asyncio.create_task(stage.waits(second), context=Context())
        assert not second.done()
    await second
    assert await stage.row() == (OLD, 4, Known.CLOSED)


async def test_a_row_that_closes_again_at_the_same_version_of_another_epoch_waits_for_open_writes(stage: Stage) -> None:
    await stage.hears(OLD, 3, OPEN)
    async with stage.referring():  # its owner was restored meanwhile, to before version 2
        await elsewhere(stage.hears(NEW, 2, CLOSED))
        second = asyncio.create_task(stage.known.closing.take_turn(), context=Context())
        assert await asyncio.create_task(stage.waits(second), context=Context())
        assert not second.done()
    await second
    assert await stage.row() == (NEW, 2, Known.CLOSED)
