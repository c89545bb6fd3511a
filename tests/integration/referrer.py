"""Bookings as one who refers: its known rows on a real Postgres, told what identity says, and rows that refer to them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4

from google.protobuf.any_pb2 import Any as AnyMessage
from teppan.common.v1.events_pb2 import Event
from teppan.identity.v1.stations_pb2 import Station
from teppan.identity.v1.users_pb2 import User

from bookings.tables import customers, known_stations, known_users, schedule_slots, schedules, slots
from bookings.wire import heard
from dbcommon.database import Database, Transaction
from dbcommon.references import Consequences, Known, KnownRows, Referent
from dbcommon.statements import inserting, inserting_all, lists
from local.database import Server
from referring import Column
from rpccommon.registry import registry
from tests.readiness import caught_up

EPOCH, NEXT = uuid4(), uuid4()
"""The epoch that identity's feed is in, and another one."""
STATION, USER = "identity.Station", "identity.User"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
COLUMNS: Sequence[Column] = [column for column in registry() if column.service == "bookings"]


@dataclass(frozen=True)
class Answer:
    """What identity answers to a check."""

    state: int = Referent.OPEN
    version: int = 1
    epoch: UUID = EPOCH
    facts: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", payload(STATION))


@dataclass(frozen=True)
class Referrer:
    """One process of bookings."""

    app: Database
    platform: Database

    def __post_init__(self) -> None:
        known = {
            STATION: KnownRows(self.platform, known_stations, owner="identity", type=STATION, facts=heard.station_facts),
            USER: KnownRows(self.platform, known_users, owner="identity", type=USER, facts=heard.no_facts),
        }
        object.__setattr__(self, "known", known)

    known: dict[str, KnownRows] = None  # type: ignore[assignment]  # made of the databases

    @property
    def consequences(self) -> Consequences:
        return Consequences(self.platform, list(self.known.values()), COLUMNS)

    async def hears(
        self, type: str, id: UUID, version: int, state: Referent, *, epoch: UUID = EPOCH, facts: bool = True
    ) -> None:  # fmt: skip
        """Applies an event, as the transaction does that moves the cursor."""
        async with self.platform.transaction() as tx:
            await self.known[type].apply(tx, event(type, id, version, state, epoch=epoch, facts=facts))

    async def closes(self) -> None:
        """The second step."""
        for known in self.known.values():
            await known.closing.take_turn()

    async def row(self, id: UUID, table: str = "known_stations") -> tuple[Known, int, bool] | None:
        """State, version and whether it is gone."""
        found = await self.rows(f"SELECT state, version, gone FROM bookings.{table} WHERE id = :id", id=id)
        return (Known(found[0].state), found[0].version, found[0].gone) if found else None

    async def rows(self, query: str, **values: Any) -> Sequence[Any]:
        """What the platform's role sees."""
        async with self.platform.transaction(read_only=True) as tx:
            return await tx.execute(query, values)

    async def left(self, station: UUID) -> dict[str, int]:
        """How many rows refer to a station."""
        async with self.app.transaction(tenant=station, read_only=True) as tx:
            return {
                table: (await tx.execute(f"SELECT count(*) FROM bookings.{table}")).value()
                for table in ("schedules", "schedule_slots", "slots", "customers")
            }

    async def station(self, *, slots_made: int = 0) -> UUID:
        """A station that is known and open, with so many slots in its calendar."""
        station = uuid4()
        await self.known[STATION].store({station: Answer()})
        if slots_made:
            async with self.app.transaction(tenant=station) as tx:
                await refers(tx, station, slots_made)
        return station

    async def customer(self, station: UUID, user: UUID | None = None) -> UUID:
        """A customer of a station, who may be a user."""
        customer = uuid4()
        row = {
            "station_id": station, "id": customer, "user_id": user, "name": "Bo", "email": b"", "email_index": customer.bytes,
            "version": 7, "create_time": NOW, "update_time": NOW,
        }  # fmt: skip
        async with self.app.transaction(tenant=station) as tx:
            await tx.execute(inserting(customers, row), row)
        return customer


async def refers(tx: Transaction, station: UUID, count: int) -> None:
    """Writes a schedule, and so many slots from the first day on."""
    head = {"station_id": station, "version": 1, "update_time": NOW}
    await tx.execute(inserting(schedules, head), head)
    weekly = {"station_id": station, "weekday": 1, "local_start": time(12), "length_minutes": 60, "capacity": 2}
    await tx.execute(inserting(schedule_slots, weekly), weekly)
    dated = [
        {
            "station_id": station, "local_date": (NOW + timedelta(days=n)).date(), "local_start": time(12),
            "start_time": NOW, "end_time": NOW, "capacity": 2,
        }
        for n in range(count)
    ]  # fmt: skip
    await tx.execute(inserting_all(slots, dated[0]), lists(dated))


def payload(type: str) -> AnyMessage:
    """What events of a thing carry."""
    packed = AnyMessage()
    packed.Pack(Station(code="MITTE", time_zone="Europe/Berlin", currency_code="EUR") if type == STATION else User())
    return packed


def event(type: str, id: UUID, version: int, state: Referent, *, epoch: UUID = EPOCH, facts: bool = True) -> Event:
    """What identity says of a thing."""
    return Event(
        event_id=str(uuid4()), type=type, entity_id=str(id), epoch=str(epoch), version=version,
        referent_state=state.value,  # type: ignore[arg-type]  # a number of that enum
        payload=payload(type) if facts else None,
    )  # fmt: skip


@asynccontextmanager
async def referrer_on(server: Server, database: str) -> AsyncIterator[Referrer]:
    """Bookings, which has caught up with identity."""
    urls = server.roles("bookings", database)
    app, platform = Database(urls["app"], pool_size=4), Database(urls["platform"], pool_size=4)
    async with platform.transaction() as tx:
        await tx.execute(caught_up("bookings", "identity", EPOCH, cursor="at"))
    yield Referrer(app, platform)
    await app.close()
    await platform.close()
