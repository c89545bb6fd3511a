"""Identity's database fails over to a standby that has not got its last commits; the deposed primary goes on answering."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from teppan.common.v1 import references_pb2 as pb
from teppan.identity.v1 import stations_pb2

from local.database import Server
from local.postgres import throwaway
from tests.integration.moving import CLOSED, OPEN, Moving, moving_on, until
from tests.integration.stage import eventually, refused
from tests.integration.standby import Standby, standby_of


@pytest.fixture
def standby(pg: str) -> Iterator[Standby]:
    """Of a cluster of identity's own."""
    with throwaway(pg) as primary, standby_of(primary) as made:
        yield made


@pytest.fixture
async def moving(server: Server, standby: Standby, database: str, tmp_path: Path) -> AsyncIterator[Moving]:
    await standby.primary.prepare(database)
    await standby.primary.migrate(database)
    async with moving_on(server, database, tmp_path / "secrets", identity=standby.primary) as made:
        yield made


async def counted(moving: Moving, station: str, epoch: UUID, version: int) -> pb.CountReferencesResponse:
    """What bookings acknowledges to identity."""
    request = pb.CountReferencesRequest(type="identity.Station", id=station, epoch=str(epoch), version=version)
    answer: pb.CountReferencesResponse = await moving.references("bookings").CountReferences(
        request, metadata=moving.service("identity")
    )
    return answer


def figure(moving: Moving, service: str, name: str) -> float:
    return moving.registries[service].get_sample_value(name, {"owner": "identity"}) or 0


async def test_a_failover_that_loses_commits_is_noticed_and_a_deposed_primary_is_not_believed(
    moving: Moving, standby: Standby
) -> None:  # fmt: skip
    same, suspended, deleted = [await moving.used() for _ in range(3)]
    await standby.cut_off()
    for station, verb in ((suspended, "Suspend"), (deleted, "Delete")):
        await moving.turn(station, verb)
    lost, epoch = await moving.used(), await moving.epoch("identity")
    await moving.known({suspended: CLOSED, deleted: CLOSED, lost: OPEN})
    assert (await counted(moving, suspended, epoch, 2)).counts

    await standby.promote()
    await at(moving, standby.server)
    unknown = {"bookings_known_stations": {UUID(lost)}, "payments_known_stations": {UUID(lost)}}
    await moving.caught_up(**unknown)
    present = await moving.epoch("identity")
    assert present != epoch
    await moving.known({same: OPEN, suspended: OPEN, deleted: OPEN, lost: CLOSED})
    for station in (same, suspended, deleted):
        await moving.customer(station)

    await moving.turn(suspended, "Suspend")  # at version 2 again
    await moving.known({suspended: CLOSED})
    assert (await refused(counted(moving, suspended, epoch, 2))).reason == "NOT_CLOSED_YET"
    assert (await counted(moving, suspended, present, 2)).counts

    await at(moving, standby.primary)
    await a_deposed_primary_is_not_believed(moving, suspended, same)
    await at(moving, standby.server)
    await moving.caught_up(**unknown)
    await moving.known({same: OPEN, suspended: CLOSED})
    assert [figure(moving, service, "feed_resynchronisations_total") for service in ("bookings", "payments")] == [2, 2]
    tables = ("bookings.bookings", "bookings.customers", "bookings.schedules", "bookings.slots", "payments.payments")
    assert await moving.broken() == {(f"{table}.station_id", UUID(lost)): 1 for table in tables}


async def at(moving: Moving, server: Server) -> None:
    """Identity, at its address, with another database behind it; returns when it answers."""
    await moving.stop("identity")
    moving.clusters["identity"] = server
    await moving.start("identity")
    await eventually(lambda: moving.stations.ListStations(stations_pb2.ListStationsRequest(page_size=1), metadata=moving.admin))


async def a_deposed_primary_is_not_believed(moving: Moving, suspended: str, same: str) -> None:
    """It has taken one station into use again, and the other one out of it, and has one that nobody else knows."""
    await moving.turn(suspended, "Resume")
    await moving.turn(same, "Suspend")
    unheard = await moving.station()
    await until(lambda: all(figure(moving, service, "feed_left_epoch_total") for service in ("bookings", "payments")))
    await moving.known({same: OPEN, suspended: CLOSED})
    assert (await refused(moving.customer(suspended))).reason == "REFERENCE_CLOSED"
    await moving.customer(same)
    answer = await refused(moving.customer(unheard))
    assert (answer.reason, answer.message) == ("FEED_STALE", "not caught up with the present epoch of identity")
