"""A station between PURGING and PURGED: nothing takes it back, nobody new refers to it, and the worker brings it to its end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from prometheus_client.exposition import generate_latest
from teppan.common.v1 import options_pb2
from teppan.common.v1 import references_pb2 as references
from teppan.identity.v1 import stations_pb2 as pb

from dbcommon.references import Known
from faults import NotClosedYet
from local.database import Server
from referring import Column, Rule
from rpccommon.references import Referring
from rpccommon.registry import registry
from service import Serving
from tests.integration.people import state_of
from tests.integration.stage import Teppan, eventually, new, refused, teppan_on


@dataclass(frozen=True)
class Slow:
    """Takes its time with what is gone."""

    url: str
    behind: list[Referring] = field(default_factory=list)
    let: asyncio.Event = field(default_factory=asyncio.Event)

    async def count(self, type: str, id: UUID, *, epoch: UUID, version: int) -> Sequence[tuple[Column, int]]:
        rows = await asyncpg.connect(self.url)
        gone = await rows.fetchval("SELECT gone FROM payments.known_stations WHERE id = $1", id)
        await rows.close()
        if gone and not self.let.is_set():
            raise NotClosedYet("not yet")
        return await self.behind[-1].count(type, id, epoch=epoch, version=version)


@dataclass
class Held:
    """Three services, of which payments takes its time."""

    teppan: Teppan
    payments: Slow
    identity: list[Serving]

    def figures(self) -> dict[str, float]:
        """What a scrape of identity gets of purges."""
        lines = generate_latest(self.identity[-1].registry).decode().splitlines()
        return {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("tombstone")}


@pytest.fixture
async def held(server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Held]:
    monkeypatch.setattr("rpccommon.gauges.COUNT_SECONDS", 0.05)
    payments, identity = Slow(server.url(database)), []

    def altered(built: Serving) -> Serving:
        if built.service == "identity":
            identity.append(built)
        if built.service != "payments":
            return built
        payments.behind.append(built.referring)
        return replace(built, counting=payments)

    async with teppan_on(server, database, tmp_path / "secrets", altered=altered) as teppan:
        yield Held(teppan, payments, identity)


async def state(teppan: Teppan, station: str) -> int:
    answer = await teppan.stations.GetStation(pb.GetStationRequest(station_id=station), metadata=teppan.admin)
    return int(answer.station.state)


async def purging(held: Held) -> str:
    """A station that is PURGING, by a call that did not wait for its end."""
    teppan = held.teppan
    station = await teppan.station()
    await teppan.turn(station, "Delete")
    request = pb.PurgeStationRequest(request_id=new(), station_id=station)
    answer: Any = await teppan.stations.PurgeStation(request, metadata=teppan.admin, timeout=4)
    assert answer.station.state == pb.STATION_STATE_PURGING
    return station


async def test_from_purging_on_nothing_comes_back_nobody_new_refers_and_the_worker_ends_it(held: Held) -> None:
    teppan = held.teppan
    station = await purging(held)
    for verb in ("Undelete", "Delete", "Resume"):
        answer = await refused(teppan.turn(station, verb))
        assert (answer.reason, answer.metadata["state"]) == ("STATION_STATE", "PURGING")
    assert await state_of(teppan, "identity.Station", station) == references.REFERENT_STATE_PURGED
    column = references.ReferrerColumn(
        type="identity.Station", column="vouchers.station_id", on_delete=options_pb2.ON_DELETE_RESTRICT
    )
    register = references.RegisterReferrerRequest(columns=[column])
    answer = await refused(teppan.references("identity").RegisterReferrer(register, metadata=teppan.service("bookings")))
    assert (answer.code, answer.reason) == ("UNAVAILABLE", "PURGE_UNFINISHED")

    async def seen() -> None:
        figures = held.figures()
        assert figures["tombstones"] == 1
        assert figures["tombstone_age_seconds"] > 0

    await eventually(seen)
    held.payments.let.set()

    async def ended() -> None:
        assert await state(teppan, station) == pb.STATION_STATE_PURGED
        assert held.figures() == {"tombstones": 0, "tombstone_age_seconds": 0}

    await eventually(ended)
    await teppan.references("identity").RegisterReferrer(register, metadata=teppan.service("bookings"))


async def test_whoever_leads_next_ends_what_the_one_before_left(held: Held) -> None:
    teppan = held.teppan
    station = await purging(held)
    await teppan.stop("identity")
    held.payments.let.set()
    await teppan.start("identity")

    async def ended() -> None:
        assert await state(teppan, station) == pb.STATION_STATE_PURGED

    await eventually(ended)


async def test_a_release_that_refers_by_one_more_column_follows_while_a_purge_keeps_it_from_registering(
    held: Held, outside: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    teppan = held.teppan
    station, other = await purging(held), await teppan.station()
    newcomer = Column(service="bookings", table="vouchers", name="station_id", type="identity.Station", rule=Rule.CASCADE)
    await teppan.stop("bookings")
    with monkeypatch.context() as release:
        release.setattr("service.workers.registry", lambda: [*registry(), newcomer])
        release.setattr("rpccommon.feed.consumer.REGISTER_AGAIN_SECONDS", 0.1)
        await teppan.start("bookings")
        await teppan.turn(other, "Delete")
        ready = "SELECT ready_columns FROM bookings.feed_state WHERE owner = 'identity'"

        async def heard() -> None:
            assert await outside.fetchval("SELECT state FROM bookings.known_stations WHERE id = $1", UUID(other)) == Known.CLOSED

        await eventually(heard)
        assert "vouchers.station_id" not in await outside.fetchval(ready)
        held.payments.let.set()

        async def registered() -> None:
            assert await state(teppan, station) == pb.STATION_STATE_PURGED
            assert "vouchers.station_id" in await outside.fetchval(ready)

        await eventually(registered)
