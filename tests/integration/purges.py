"""A station that is deleted, an owner that purges it, and those who refer to it: made up, but they hear the owner's real feed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from dbcommon.database import Database
from dbcommon.feed import Feed
from dbcommon.references import Driver, Purges, Referent, Registry
from dbcommon.relay import Relay
from dbcommon.requests import Requests
from faults import NotClosedYet
from identity.domain.stations import DELETE, UNDELETE, NewStation, State, Transition, changed, found
from identity.store import stations as store
from identity.tables import requests_
from identity.usecases.purges import PurgeableStations
from identity.usecases.referents import TYPES
from identity.usecases.stations import EVENT_TYPE, Stations
from identity.wire.stations import event_to_pb
from ids import new_id
from local.database import Server
from referring import Rule
from rpccommon.registry import registry as contract
from service import now
from tests.integration.watched import connections_of

LAST = "SELECT epoch, version, referent_state FROM identity.events WHERE entity_id = $1 ORDER BY position DESC LIMIT 1"


@dataclass
class Made:
    """One who refers, by the columns of the contract: has closed what it has heard of, and removes what goes with it, in batches."""

    rows: asyncpg.Connection
    left: dict[str, int]
    rules: Mapping[str, Rule]
    meanwhile: Callable[[], Awaitable[None]] | None = None
    """Happens once, at the next question."""
    fault: Exception | None = None
    deaf: bool = False
    asked: list[tuple[UUID, int]] = field(default_factory=list)
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def count(self, type: str, id: UUID, *, epoch: UUID, version: int) -> Mapping[str, int]:
        """As a service would."""
        self.asked.append((epoch, version))
        if (meanwhile := self.meanwhile) is not None:
            self.meanwhile = None
            await meanwhile()
        if self.fault is not None:
            raise self.fault
        async with self.looking:
            last = await self.rows.fetchrow(LAST, id)
        if self.deaf or last is None or (last["epoch"], last["version"]) != (epoch, version):
            raise NotClosedYet("not heard yet")
        counted = dict(self.left)
        if last["referent_state"] == Referent.PURGED:
            self.left = {
                column: count if self.rules[column] is Rule.RESTRICT else count // 10 for column, count in self.left.items()
            }
        return counted


@dataclass
class Owner:
    """Identity, without a service around it."""

    rows: asyncpg.Connection
    platform: Database
    registry: Registry
    purges: Purges
    stations: Stations
    things: PurgeableStations
    referrers: Mapping[str, Made]
    driver: Driver
    relay: Relay
    connections: list[asyncpg.Connection]
    """All that are open, for who is killed."""

    async def station(self, *transitions: Transition) -> UUID:
        """A new one, after these."""
        wanted = NewStation(code=new_id().hex, name="Mitte", display_name="", time_zone="Europe/Berlin", currency_code="EUR")
        station = found(wanted, station_id=new_id(), now=now())
        async with self.platform.transaction() as tx:
            await store.insert_station(tx, station)
            await self.stations.announce(tx, station)
        for transition in transitions:
            await self.turn(station.station_id, transition)
        return station.station_id

    async def turn(self, id: UUID, transition: Transition) -> None:
        """Changes a station."""
        async with self.platform.transaction() as tx:
            station = changed(await store.get_station(tx, id, lock=True), transition, etag="", now=now())
            await store.save_state(tx, station)
            await self.stations.announce(tx, station)

    async def undelete(self, id: UUID) -> None:
        """Takes it back."""
        await self.turn(id, UNDELETE)

    async def begun(self) -> UUID:
        """A deleted station whose purge has begun: version 3."""
        id = await self.station(DELETE)
        await self.begin(id)
        return id

    async def begin(self, id: UUID) -> None:
        """Begins a purge."""
        async with self.platform.transaction() as tx:
            await self.purges.begin(tx, self.things, id)

    async def drive(self, id: UUID, patience: float = 10.0) -> None:
        """Drives it on."""
        await self.driver.drive(EVENT_TYPE, id, patience=patience)

    async def seen(self, id: UUID) -> tuple[State, int]:
        """State and version."""
        row = await self.rows.fetchrow("SELECT state, version FROM identity.stations WHERE id = $1", id)
        return State(row["state"]), row["version"]

    async def announced(self, id: UUID) -> list[tuple[int, Referent]]:
        """What the feed has said, once all of it is out."""
        async with asyncio.timeout(10):
            while await self.rows.fetchval("SELECT EXISTS (SELECT FROM identity.outbox)"):
                await self.relay.step()
        told = await self.rows.fetch(
            "SELECT version, referent_state FROM identity.events WHERE entity_id = $1 ORDER BY position", id
        )
        return [(each["version"], Referent(each["referent_state"])) for each in told]

    async def other_life(self) -> None:
        """What a restart does to the feed, but for the new epoch, which the relay opens."""
        await self.rows.execute("UPDATE identity.epochs SET incarnation = 'an earlier life'")

    def kill(self) -> None:
        """Cuts all connections, as the end of a process does."""
        for connection in self.connections:
            connection.terminate()

    async def restarted(self) -> None:
        """The same, with the new epoch."""
        await self.other_life()
        await self.relay.step()


@asynccontextmanager
async def owner_on(server: Server, database: str, *, relayed: bool = True) -> AsyncIterator[Owner]:
    """An owner, its relay running unless it is stepped by hand."""
    connections = [await asyncpg.connect(server.url(database)) for _ in range(3)]
    platform = Database(server.url(database, "identity_platform"), pool_size=8)
    connections_of(platform, connections)  # to cut them
    stations = Stations(
        app=platform,
        platform=platform,
        requests=Requests(platform, requests_, key=b"k"),
        encode=event_to_pb,
        now=now,
        new_id=new_id,
    )
    registry = Registry(platform, "identity", Feed(platform, "identity"), contract=contract(), types=TYPES)
    purges, things = Purges(platform, "identity", registry), PurgeableStations(stations=stations, now=now)
    referrers = {service: _made(rows, service) for service, rows in zip(("bookings", "payments"), connections[1:], strict=True)}
    relay = Relay(platform, "identity", new_id)
    await relay.step()
    running = asyncio.create_task(relay.run()) if relayed else None
    driver = Driver(purges, {EVENT_TYPE: things}, referrers)
    yield Owner(connections[0], platform, registry, purges, stations, things, referrers, driver, relay, connections)
    if running is not None:
        running.cancel()
        await asyncio.wait({running})
    await platform.close()
    for connection in connections:
        connection.terminate()


def _made(rows: asyncpg.Connection, service: str) -> Made:
    rules = {
        column.place: column.rule
        for column in contract()
        if (column.service, column.type) == (service, EVENT_TYPE) and column.rule is not Rule.KEEP
    }
    return Made(rows, dict.fromkeys(rules, 0), rules)
