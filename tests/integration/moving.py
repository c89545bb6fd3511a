"""Services whose databases move: restored into another cluster, or failed over to a standby, while the others go on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from teppan.common.v1 import audits_pb2, audits_pb2_grpc
from teppan.identity.v1 import stations_pb2

from dbcommon.references import Known
from local import secret
from local.backup import ServiceSchema
from local.database import SERVICES, Server
from local.stack import environment
from referring import Rule
from rpccommon.registry import registry
from tests.integration.stage import Teppan, caught_up, choose_ports, eventually, new

OPEN, CLOSED, PURGED = Known.OPEN, Known.CLOSED, Known.PURGED
STATIONS = {1: OPEN, 2: CLOSED, 3: CLOSED, 4: PURGED, 5: PURGED}
USERS = {1: OPEN, 2: CLOSED, 3: PURGED, 4: PURGED}
BOOKINGS = {1: CLOSED, 2: OPEN, 3: CLOSED, 4: OPEN, 5: OPEN, 6: OPEN, 7: CLOSED, 8: CLOSED, 9: CLOSED}
"""What each state of a thing is to those who refer to it."""
KEPT = [
    ("bookings", "known_stations", "id", "identity", "stations", STATIONS),
    ("bookings", "known_users", "id", "identity", "users", USERS),
    ("payments", "known_stations", "id", "identity", "stations", STATIONS),
    ("payments", "booking_accounts", "booking_id", "bookings", "bookings", BOOKINGS),
]
THINGS = {
    "identity.Station": ("identity", "stations", "state IN (4, 5)"),
    "identity.User": ("identity", "users", "state IN (3, 4)"),
    "bookings.Booking": ("bookings", "bookings", "false"),
}
"""Where the things of a type are, and which of them are gone for ever."""


@dataclass
class Moving(Teppan):
    """Three services, each with a cluster of its own choice."""

    clusters: dict[str, Server] = field(default_factory=dict)
    """Where a service's database is; the others' are where they began."""

    def cluster(self, service: str) -> Server:
        return self.clusters.get(service, self.server)

    def environ(self, service: str) -> dict[str, str]:
        urls = self.cluster(service).roles(service, self.database)
        return environment(service, ports=self.ports, metrics=0, urls=urls, secrets=self.secrets)

    def schema(self, service: str) -> ServiceSchema:
        """What can be backed up, and brought back, where it is now."""
        return ServiceSchema(server=self.cluster(service), database=self.database, service=service)

    async def back_up(self, service: str, file: Path) -> Path:
        await asyncio.to_thread(self.schema(service).back_up, file)
        return file

    async def restore(self, service: str, file: Path, cluster: Server | None = None) -> None:
        """Stops a service, and brings a backup back: into a fresh cluster, or without one its data where it is. Starts nothing."""
        await self.stop(service)
        if cluster is not None:
            await cluster.prepare(self.database)
            self.clusters[service] = cluster
        schema, data_only = self.schema(service), cluster is None
        await asyncio.to_thread(schema.check, file, data_only=data_only, confirmed=data_only)
        await asyncio.to_thread(schema.restore, file, data_only=data_only)

    async def purged(self, station: str) -> None:
        """Purges a station that is deleted, however often it has to be asked for."""
        request = stations_pb2.PurgeStationRequest(request_id=new(), station_id=station)

        async def gone() -> None:
            answer = await self.stations.PurgeStation(request, metadata=self.admin)
            assert answer.station.state == stations_pb2.STATION_STATE_PURGED

        await eventually(gone)

    async def with_a_week(self) -> str:
        """A station with nothing but a schedule, which goes with it."""
        station = await self.station()
        await self.week(station, slots_a_day=2, capacity=5)
        return station

    async def used(self) -> str:
        """A station that bookings and payments refer to, once in each column."""
        station = await self.station()
        booking = await self.booking(station, await self.customer(station))
        await eventually(lambda: self.pay(station, booking.booking_id, 10))
        return station

    async def known(self, expected: dict[str, Known]) -> None:
        """Returns once bookings and payments know these stations so."""

        async def so() -> bool:
            for service in ("bookings", "payments"):
                rows = await self.fetch(service, f"SELECT id, state FROM {service}.known_stations")
                states = {str(row["id"]): Known(row["state"]) for row in rows}
                assert {id: states.get(id) for id in expected} == expected, service
            return True

        await until(so)

    async def caught_up(self, **unknown: set[UUID]) -> None:
        """Returns once everybody knows what there is, and of the rest exactly this: `bookings_known_stations={...}`."""

        async def so() -> bool:
            found = await self.dangling()
            assert found == {name.replace("_", ".", 1): ids for name, ids in unknown.items()}
            return True

        await until(so)

    async def fetch(self, service: str, query: str, *values: object) -> list[asyncpg.Record]:
        """Asks a service's database, where it is now, as somebody who sees and may do everything."""
        connection = await asyncpg.connect(self.cluster(service).url(self.database))
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    async def epoch(self, service: str) -> UUID:
        """The newest epoch of a service's feed."""
        [row] = await self.fetch(service, f"SELECT epoch FROM {service}.feed_head")
        return UUID(str(row["epoch"]))

    async def dangling(self) -> dict[str, set[UUID]]:
        """By "service.table", what is known there and unknown to its owner. Fails unless all else is known as the owner has it.

        Also where a follower has not come to the end of a feed.
        """
        for service, owner in (
            ("bookings", "identity"),
            ("bookings", "payments"),
            ("payments", "identity"),
            ("payments", "bookings"),
        ):
            await self._at_the_end(service, owner)
        unknown = {}
        for service, table, key, owner, things, states in KEPT:
            rows = await self.fetch(service, f"SELECT {key} AS id, state, version FROM {service}.{table}")
            known = {row["id"]: (row["state"], row["version"]) for row in rows}
            there = {
                row["id"]: (states[row["state"]], row["version"])
                for row in await self.fetch(owner, f"SELECT id, state, version FROM {owner}.{things}")
            }
            assert {id: known[id] for id in known if id in there} == {id: there[id] for id in known if id in there}, (
                service,
                table,
            )
            assert not {id for id in there if id not in known and there[id][0] is not OPEN}, (service, table)
            if lost := {id for id in known if id not in there}:
                unknown[f"{service}.{table}"] = lost
        return unknown

    async def broken(self) -> dict[tuple[str, UUID], int]:
        """The references that are broken: column and thing, how many rows. Fails unless the audit lists exactly these."""
        found = {}
        for column in registry():
            if column.rule is Rule.KEEP:
                continue
            owner, things, gone = THINGS[column.type]
            there = {row["id"] for row in await self.fetch(owner, f"SELECT id FROM {owner}.{things} WHERE NOT {gone}")}
            refer = f"SELECT {column.name} AS id, count(*) FROM {column.service}.{column.table} WHERE {column.name} IS NOT NULL GROUP BY 1"
            for row in await self.fetch(column.service, refer):
                if row["id"] not in there:
                    found[f"{column.service}.{column.place}", row["id"]] = row["count"]
        assert await self._audited() == found
        return found

    async def _audited(self) -> dict[tuple[str, UUID], int]:
        """What the audits of all services list, each once nothing is in doubt."""
        found: dict[tuple[str, UUID], int] = {}
        for service in SERVICES:
            await until(lambda service=service: self._audit(service, found))  # type: ignore[misc]  # bound here
        return found

    async def _audit(self, service: str, found: dict[tuple[str, UUID], int]) -> bool:
        """Whether nothing is in doubt; then what it lists is added."""
        stub: Any = audits_pb2_grpc.AuditsServiceStub(self.channels[service])
        call = stub.AuditReferences(audits_pb2.AuditReferencesRequest(), metadata=self.admin)
        steps = [step async for step in call]
        assert steps[-1].HasField("end")
        assert not steps[-1].end.undecided, steps
        for each in (step.dangling for step in steps if step.HasField("dangling")):
            found[f"{service}.{each.column}", UUID(each.id)] = each.rows
        return True

    async def _at_the_end(self, service: str, owner: str) -> None:
        followed = (
            f"SELECT epoch, position FROM {service}.feed_state WHERE owner = $1 AND ready_incarnation = {service}.incarnation()"
        )
        drained = f"SELECT epoch, position FROM {owner}.feed_head WHERE NOT EXISTS (SELECT FROM {owner}.outbox)"
        state, head = await self.fetch(service, followed, owner), await self.fetch(owner, drained)
        assert state, (service, owner)
        assert state == head, (service, owner)


@asynccontextmanager
async def moving_on(server: Server, database: str, secrets: Path, **clusters: Server) -> AsyncIterator[Moving]:
    """All three, running and caught up with each other, on one cluster as yet but for `clusters`."""
    secret.make(secrets, SERVICES)
    moving = Moving(server, database, secrets, choose_ports(), clusters=dict(clusters))
    try:
        await moving.start(*SERVICES)
        await caught_up(moving)
        yield moving
    finally:
        await moving.close()


async def until(condition: Callable[[], object]) -> None:
    """Returns once it holds, or what it gives to be awaited; fails with what it says after half a minute."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 30
    while True:
        try:
            held = condition()
            assert await held if asyncio.iscoroutine(held) else held
        except AssertionError:
            if loop.time() > deadline:
                raise
            await asyncio.sleep(0.02)
        else:
            return
