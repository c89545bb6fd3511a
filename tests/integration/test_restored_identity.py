"""Identity is restored from an older backup into a fresh cluster, while those who refer to its things go on."""

import asyncio
from pathlib import Path
from uuid import UUID

from teppan.identity.v1 import stations_pb2 as pb

from local.database import Server
from tests.integration.moving import CLOSED, OPEN, PURGED, Moving, until
from tests.integration.stage import refused


async def goes_on(moving: Moving, station: str, stop: asyncio.Event) -> int:
    """Writes that refer to a station, one after the other; how many. Fails as soon as one does."""
    count = 0
    while not stop.is_set():
        await moving.customer(station)
        count += 1
    return count


async def test_those_who_refer_take_over_what_identity_has_now(moving: Moving, other: Server, tmp_path: Path) -> None:
    same, deleted, resumed = [await moving.used() for _ in range(3)]
    again, gone = await moving.station(), await moving.with_a_week()
    await moving.turn(resumed, "Suspend")
    await moving.turn(again, "Delete")
    file = await moving.back_up("identity", tmp_path / "identity")
    for station in (deleted, gone):
        await moving.turn(station, "Delete")
    await moving.turn(resumed, "Resume")
    await moving.purged(gone)
    await moving.purged(again)
    after, epoch = await moving.used(), await moving.epoch("identity")
    await moving.known({deleted: CLOSED, resumed: OPEN, gone: PURGED, again: PURGED, after: OPEN})

    stop = asyncio.Event()
    writes = asyncio.create_task(goes_on(moving, same, stop))
    await moving.restore("identity", file, other)
    await moving.start("identity")

    await moving.caught_up(bookings_known_stations={UUID(after)}, payments_known_stations={UUID(after)})
    stop.set()
    assert await writes
    assert await moving.epoch("identity") != epoch
    await until(lambda: [unknown(moving, service) for service in ("bookings", "payments")] == [1, 1])
    await moving.known({same: OPEN, deleted: OPEN, resumed: CLOSED, gone: OPEN, again: CLOSED, after: CLOSED})
    await takes_no_more(moving, after, resumed)
    for station in (same, deleted, gone):
        await moving.customer(station)
    await moving.purged(again)
    references = {
        "bookings.customers.station_id": 1,
        "bookings.bookings.station_id": 1,
        "bookings.schedules.station_id": 1,
        "bookings.slots.station_id": 1,
        "payments.payments.station_id": 1,
    }
    assert await moving.broken() == {(column, UUID(after)): rows for column, rows in references.items()}


def unknown(moving: Moving, service: str) -> float | None:
    """What the metric says that identity did not know at the last resynchronisation."""
    return moving.registries[service].get_sample_value("feed_unknown_rows", {"owner": "identity", "type": "identity.Station"})


async def takes_no_more(moving: Moving, lost: str, suspended: str) -> None:
    """Neither identity nor those who refer to it work with a station that it does not know, or that is not in use."""
    get = pb.GetStationRequest(station_id=lost)
    assert (await refused(moving.stations.GetStation(get, metadata=moving.admin))).reason == "STATION_NOT_FOUND"
    for station in (lost, suspended):
        assert (await refused(moving.customer(station))).reason == "REFERENCE_CLOSED"
