"""PurgeStation, on sockets: what it waits for, what it refuses, and what it leaves."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from teppan.common.v1 import options_pb2
from teppan.common.v1 import references_pb2 as references
from teppan.identity.v1 import stations_pb2 as pb
from teppan.identity.v1 import users_pb2

from tests.integration.people import enrolled, membership, state_of
from tests.integration.stage import Teppan, eventually, new, refused

PURGING, PURGED = pb.STATION_STATE_PURGING, pb.STATION_STATE_PURGED


@pytest.fixture
async def rows(teppan: Teppan) -> AsyncIterator[asyncpg.Connection]:
    """Sees everything."""
    connection = await asyncpg.connect(teppan.server.url(teppan.database))
    yield connection
    await connection.close()


async def purge(teppan: Teppan, request: pb.PurgeStationRequest, by: Any = None) -> pb.Station:
    answer = await teppan.stations.PurgeStation(request, metadata=teppan.admin if by is None else by)
    return answer.station  # type: ignore[no-any-return]  # grpc's stub of a test says nothing of it


def request_of(station: str, **more: Any) -> pb.PurgeStationRequest:
    return pb.PurgeStationRequest(**{"request_id": new(), "station_id": station, **more})


async def read(teppan: Teppan, station: str) -> pb.Station:
    answer: pb.GetStationResponse = await teppan.stations.GetStation(
        pb.GetStationRequest(station_id=station), metadata=teppan.admin
    )
    return answer.station


async def until(teppan: Teppan, station: str, state: int) -> pb.Station:
    """The station, once it is in that state."""

    async def there() -> pb.Station:
        found = await read(teppan, station)
        assert found.state == state
        return found

    return await eventually(there)  # type: ignore[no-any-return]  # what `there` gives


async def test_a_station_that_nothing_holds_back_is_purged_with_what_goes_with_it(teppan: Teppan, rows: asyncpg.Connection) -> None:
    station = await teppan.station()
    await teppan.week(station, slots_a_day=2, capacity=5)
    deleted = await teppan.turn(station, "Delete")
    purged = await purge(teppan, request_of(station, etag=deleted.etag))
    assert purged.state in {PURGING, PURGED}
    purged = await until(teppan, station, PURGED)
    assert (purged.code, purged.delete_time, int(purged.etag)) == (deleted.code, deleted.delete_time, int(deleted.etag) + 2)
    assert await rows.fetchval("SELECT count(*) FROM bookings.schedules WHERE station_id = $1", UUID(station)) == 0
    assert await state_of(teppan, "identity.Station", station) == references.REFERENT_STATE_PURGED
    for verb in ("Undelete", "Delete", "Purge", "Suspend"):
        assert (await refused(teppan.turn(station, verb))).reason == "STATION_STATE"


async def test_a_customer_holds_a_station_back_which_can_be_undeleted_then(teppan: Teppan, rows: asyncpg.Connection) -> None:
    station, admin = await teppan.station(), teppan.admin
    customer = await teppan.customer(station)
    booking = await teppan.booking(station, customer)
    await teppan.pay(station, booking.booking_id, 70)
    await teppan.turn(station, "Delete")
    request = request_of(station)
    for _ in range(2):
        answer = await refused(purge(teppan, request, by=admin))
        assert (answer.code, answer.reason) == ("FAILED_PRECONDITION", "STILL_REFERENCED")
        assert (
            answer.metadata["column"] == "bookings.bookings.station_id,bookings.customers.station_id,payments.payments.station_id"
        )
        assert answer.metadata["count"] == "1,1,1"
    assert (await read(teppan, station)).state == pb.STATION_STATE_DELETED
    assert (await teppan.turn(station, "Undelete")).state == pb.STATION_STATE_SUSPENDED
    answer = await refused(purge(teppan, request, by=admin))
    assert (answer.reason, answer.metadata["state"], answer.metadata["wanted"]) == ("STATION_STATE", "SUSPENDED", "PURGED")


async def test_the_same_request_goes_on_once_nothing_holds_the_station_back(teppan: Teppan, rows: asyncpg.Connection) -> None:
    station, admin = await teppan.station(), teppan.admin
    await teppan.customer(station)
    await teppan.turn(station, "Delete")
    request = request_of(station)
    assert (await refused(purge(teppan, request, by=admin))).reason == "STILL_REFERENCED"
    await rows.execute("DELETE FROM bookings.customers WHERE station_id = $1", UUID(station))
    assert (await purge(teppan, request, by=admin)).state in {PURGING, PURGED}
    done = await until(teppan, station, PURGED)
    assert await purge(teppan, request, by=admin) == done


async def test_who_still_writes_has_not_closed_and_the_station_waits(teppan: Teppan, rows: asyncpg.Connection) -> None:
    station, admin = await teppan.station(), teppan.admin
    await teppan.customer(station)
    await rows.execute("DELETE FROM bookings.customers WHERE station_id = $1", UUID(station))
    request = request_of(station)
    async with rows.transaction():
        await rows.execute("SELECT FROM bookings.known_stations WHERE id = $1 FOR KEY SHARE", UUID(station))
        await teppan.turn(station, "Delete")
        answer = await refused(teppan.stations.PurgeStation(request, metadata=admin, timeout=2))
        assert (answer.code, answer.reason, answer.metadata["peer"]) == ("FAILED_PRECONDITION", "NOT_CLOSED_YET", "bookings")
        assert (await read(teppan, station)).state == pb.STATION_STATE_DELETED
    await eventually(lambda: closed(teppan, request, admin))
    await until(teppan, station, PURGED)


async def closed(teppan: Teppan, request: pb.PurgeStationRequest, admin: Any) -> None:
    try:
        await purge(teppan, request, by=admin)
    except Exception as error:
        raise AssertionError(str(error)) from error


async def test_where_one_who_refers_is_down_the_station_waits_and_is_purged_when_it_is_back(own: Teppan) -> None:
    station, admin = await own.station(), own.admin
    await own.turn(station, "Delete")
    request = request_of(station)
    await own.stop("payments")
    answer = await refused(purge(own, request, by=admin))
    assert (answer.code, answer.reason, answer.metadata["peer"]) == ("UNAVAILABLE", "PEER_UNAVAILABLE", "payments")
    assert (await read(own, station)).state == pb.STATION_STATE_DELETED
    await own.start("payments")
    await eventually(lambda: closed(own, request, admin))
    await until(own, station, PURGED)


@pytest.mark.parametrize("way", [(), ("Suspend",)], ids="-".join)
async def test_only_what_is_deleted_is_purged(teppan: Teppan, way: tuple[str, ...]) -> None:
    station = await teppan.station()
    if way:
        await teppan.turn(station, *way)
    before = await read(teppan, station)
    answer = await refused(purge(teppan, request_of(station)))
    assert (answer.code, answer.reason, answer.metadata["wanted"]) == ("FAILED_PRECONDITION", "STATION_STATE", "PURGED")
    assert await read(teppan, station) == before


async def test_a_purge_is_refused_by_etag_shape_and_existence_as_other_changes_are(teppan: Teppan) -> None:
    station = await teppan.station()
    deleted = await teppan.turn(station, "Delete")
    answer = await refused(purge(teppan, request_of(station, etag="1")))
    assert (answer.code, answer.reason, answer.metadata["etag"]) == ("ABORTED", "ETAG_STALE", deleted.etag)
    assert (await refused(purge(teppan, request_of(new())))).reason == "STATION_NOT_FOUND"
    bad = pb.PurgeStationRequest(request_id="x", station_id="y", etag="z" * 101)
    assert set((await refused(purge(teppan, bad))).fields) == {"request_id", "station_id", "etag"}
    user = users_pb2.PurgeUserRequest(request_id="x", user_id="y", etag="z" * 101)
    assert set((await refused(teppan.users.PurgeUser(user, metadata=teppan.admin))).fields) == {"request_id", "user_id", "etag"}
    user = users_pb2.PurgeUserRequest(request_id=new(), user_id=new())
    assert (await refused(teppan.users.PurgeUser(user, metadata=teppan.admin))).reason == "USER_NOT_FOUND"
    assert await read(teppan, station) == deleted


async def test_only_administrators_of_the_platform_purge(teppan: Teppan) -> None:
    station = await teppan.station()
    await teppan.turn(station, "Delete")
    support = teppan.bearer(platform_role=options_pb2.PLATFORM_ROLE_SUPPORT)
    user = users_pb2.PurgeUserRequest(request_id=new(), user_id=new())
    for who in (teppan.bearer(), teppan.member(station), support, teppan.service("bookings")):
        assert (await refused(purge(teppan, request_of(station), by=who))).reason == "PERMISSION_DENIED"
        assert (await refused(teppan.users.PurgeUser(user, metadata=who))).reason == "PERMISSION_DENIED"
    assert (await read(teppan, station)).state == pb.STATION_STATE_DELETED


async def test_members_of_a_station_go_with_it_and_nobody_becomes_one_any_more(teppan: Teppan, rows: asyncpg.Connection) -> None:
    station, user = await teppan.station(), await enrolled(teppan, f"{uuid4().hex}@example.com")
    await teppan.members.AddMember(membership(station, user.user_id), metadata=teppan.admin)
    await teppan.turn(station, "Delete")
    await purge(teppan, request_of(station))
    await until(teppan, station, PURGED)
    assert await rows.fetchval("SELECT count(*) FROM identity.memberships WHERE station_id = $1", UUID(station)) == 0
    late = "INSERT INTO identity.memberships VALUES ($1, $2, 1, NULL, 1, now())"
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="the station is purged"):
        await rows.execute(late, UUID(station), UUID(user.user_id))


async def test_no_state_changes_before_the_present_epoch_has_begun(own: Teppan) -> None:
    rows = await asyncpg.connect(own.server.url(own.database))
    station, user = await own.station(), await enrolled(own, f"{uuid4().hex}@example.com")
    async with rows.transaction():  # the relay waits for the head
        await rows.execute("SELECT FROM identity.feed_head FOR UPDATE")
        other = await asyncpg.connect(own.server.url(own.database))
        await other.execute("UPDATE identity.epochs SET incarnation = 'an earlier life'")
        await other.close()
        off = users_pb2.DisableUserRequest(request_id=new(), user_id=user.user_id)
        for call in (
            own.turn(station, "Suspend"),
            own.turn(station, "Delete"),
            own.users.DisableUser(off, metadata=own.admin),
        ):
            answer = await refused(call)
            assert (answer.code, answer.reason) == ("UNAVAILABLE", "FEED_STALE")
    await eventually(lambda: own.turn(station, "Suspend"))
    await rows.close()
