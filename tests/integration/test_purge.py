"""PurgeStation and PurgeUser, on sockets. Who refers answers by what it knows and has, and removes what is to go."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from teppan.common.v1 import options_pb2
from teppan.common.v1 import references_pb2 as references
from teppan.identity.v1 import memberships_pb2, tokens_pb2, users_pb2
from teppan.identity.v1 import stations_pb2 as pb

from dbcommon.references import Known
from faults import NotClosedYet
from local.database import Server
from referring import Column, Rule
from rpccommon.registry import registry as contract
from service import Serving
from tests.conftest import new_database
from tests.integration.stage import Teppan, eventually, new, refused, teppan_on

PURGING, PURGED = pb.STATION_STATE_PURGING, pb.STATION_STATE_PURGED
PASSWORD = "correct horse battery"  # noqa: S105  # nobody's
KNOWN = {"identity.Station": "known_stations", "identity.User": "known_users"}


@dataclass(frozen=True)
class Counting:
    """Answers for a service from its tables, with the rights of a superuser."""

    url: str
    service: str

    async def count(self, type: str, id: UUID, *, epoch: UUID, version: int) -> Sequence[tuple[Column, int]]:
        """Counts, once the thing is closed here; then removes what goes with it, where it is gone."""
        columns = [column for column in contract() if (column.service, column.type) == (self.service, type)]
        rows = await asyncpg.connect(self.url)
        try:
            known = await rows.fetchrow(f"SELECT epoch, version, state FROM {self.service}.{KNOWN[type]} WHERE id = $1", id)
            closed = known is not None and known["state"] in {Known.CLOSED, Known.PURGED}
            if not closed or (known["epoch"], known["version"]) != (epoch, version):
                raise NotClosedYet("not yet")
            counted = [each for each in columns if each.rule is not Rule.KEEP]
            counts = [(each, await rows.fetchval(self._sql("SELECT count(*) FROM", each), id)) for each in counted]
            if known["state"] == Known.PURGED:
                for each in counted:
                    if each.rule is Rule.CASCADE:
                        await rows.execute(self._sql("DELETE FROM", each), id)
                    if each.rule is Rule.NULLIFY:
                        await rows.execute(f"UPDATE {each.service}.{each.table} SET {each.name} = NULL WHERE {each.name} = $1", id)
            return counts
        finally:
            await rows.close()

    def _sql(self, verb: str, column: Column) -> str:
        return f"{verb} {column.service}.{column.table} WHERE {column.name} = $1"


@pytest.fixture(scope="module")
async def teppan(server: Server, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Teppan]:
    """Three services, two of which count."""
    name = new_database()
    await server.create(name, template)

    def altered(built: Serving) -> Serving:
        service = built.parts.schema.service
        return built if service == "identity" else replace(built, counting=Counting(server.url(name), service))

    secrets: Path = tmp_path_factory.mktemp("purge") / "secrets"
    async with teppan_on(server, name, secrets, altered=altered) as stage:
        yield stage
    await server.drop(name)


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


async def state_of(teppan: Teppan, type: str, id: str, station: str = "") -> int:
    """What a check answers."""
    request = references.CheckReferencesRequest(type=type, items=[references.ReferenceItem(station_id=station, id=id)])
    answer = await teppan.references("identity").CheckReferences(request, metadata=teppan.service("bookings"))
    return int(answer.answers[0].state)


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


async def test_where_one_who_refers_is_down_the_station_waits_and_is_purged_when_it_is_back(teppan: Teppan) -> None:
    station, admin = await teppan.station(), teppan.admin
    await teppan.turn(station, "Delete")
    request = request_of(station)
    await teppan.stop("payments")
    try:
        answer = await refused(purge(teppan, request, by=admin))
        assert (answer.code, answer.reason, answer.metadata["peer"]) == ("UNAVAILABLE", "PEER_UNAVAILABLE", "payments")
        assert (await read(teppan, station)).state == pb.STATION_STATE_DELETED
    finally:
        await teppan.start("payments")
    await eventually(lambda: closed(teppan, request, admin))
    await until(teppan, station, PURGED)


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


# Users ----------------------------------------------------------------------------------------------------------------


async def enrolled(teppan: Teppan, email: str, **more: Any) -> users_pb2.User:
    request = users_pb2.CreateUserRequest(request_id=new(), name="Ann Archer", email=email, password=PASSWORD, **more)
    answer: users_pb2.CreateUserResponse = await teppan.users.CreateUser(request, metadata=teppan.admin)
    return answer.user


async def disabled(teppan: Teppan, user: str) -> users_pb2.User:
    request = users_pb2.DisableUserRequest(request_id=new(), user_id=user)
    answer: users_pb2.DisableUserResponse = await teppan.users.DisableUser(request, metadata=teppan.admin)
    return answer.user


def membership(station: str, user: str) -> memberships_pb2.AddMemberRequest:
    return memberships_pb2.AddMemberRequest(request_id=new(), station_id=station, user_id=user, role=options_pb2.ROLE_AGENT)


async def test_nothing_is_left_of_a_user_but_that_they_were_there(teppan: Teppan, rows: asyncpg.Connection) -> None:
    email, station, admin = f"{uuid4().hex}@example.com", await teppan.station(), teppan.admin
    user = await enrolled(teppan, email, platform_role=options_pb2.PLATFORM_ROLE_SUPPORT)
    joined = membership(station, user.user_id)
    await teppan.members.AddMember(joined, metadata=admin)
    off = await disabled(teppan, user.user_id)
    request = users_pb2.PurgeUserRequest(request_id=new(), user_id=user.user_id, etag=off.etag)

    async def purged() -> users_pb2.User:
        found: users_pb2.User = (await teppan.users.PurgeUser(request, metadata=admin)).user
        assert found.state == users_pb2.USER_STATE_PURGED
        return found

    left = await eventually(purged)
    assert (left.name, left.email, left.platform_role) == ("", "", options_pb2.PLATFORM_ROLE_UNSPECIFIED)
    row = await rows.fetchrow("SELECT name, email_index, password_hash FROM identity.users WHERE id = $1", UUID(user.user_id))
    assert tuple(row) == ("", UUID(user.user_id).bytes, "")
    assert await rows.fetchval("SELECT count(*) FROM identity.memberships WHERE user_id = $1", UUID(user.user_id)) == 0
    assert await state_of(teppan, "identity.User", user.user_id) == references.REFERENT_STATE_PURGED
    login = tokens_pb2.LoginRequest(email=email, password=PASSWORD)
    assert (await refused(teppan.tokens.Login(login))).reason == "LOGIN_REFUSED"
    for again in (joined, membership(station, user.user_id)):
        assert (await refused(teppan.members.AddMember(again, metadata=admin))).reason == "USER_NOT_FOUND"
    assert (await refused(enable(teppan, user.user_id))).reason == "USER_STATE"
    assert (await enrolled(teppan, email)).user_id != user.user_id, "the email is free again"


def enable(teppan: Teppan, user: str) -> Any:
    return teppan.users.EnableUser(users_pb2.EnableUserRequest(request_id=new(), user_id=user), metadata=teppan.admin)


async def test_two_users_can_be_purged_and_an_active_one_cannot(teppan: Teppan) -> None:
    for _ in range(2):
        user = await enrolled(teppan, f"{uuid4().hex}@example.com")
        request = users_pb2.PurgeUserRequest(request_id=new(), user_id=user.user_id)
        assert (await refused(teppan.users.PurgeUser(request, metadata=teppan.admin))).reason == "USER_STATE"
        await disabled(teppan, user.user_id)
        request.request_id = new()
        admin = teppan.admin

        async def purged() -> None:
            found = (await teppan.users.PurgeUser(request, metadata=admin)).user  # noqa: B023  # called before the next turn
            assert found.state == users_pb2.USER_STATE_PURGED

        await eventually(purged)


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


async def test_no_state_changes_before_the_present_epoch_has_begun(teppan: Teppan, rows: asyncpg.Connection) -> None:
    station, user = await teppan.station(), await enrolled(teppan, f"{uuid4().hex}@example.com")
    async with rows.transaction():  # the relay waits for the head
        await rows.execute("SELECT FROM identity.feed_head FOR UPDATE")
        other = await asyncpg.connect(teppan.server.url(teppan.database))
        await other.execute("UPDATE identity.epochs SET incarnation = 'an earlier life'")
        await other.close()
        off = users_pb2.DisableUserRequest(request_id=new(), user_id=user.user_id)
        for call in (
            teppan.turn(station, "Suspend"),
            teppan.turn(station, "Delete"),
            teppan.users.DisableUser(off, metadata=teppan.admin),
        ):
            answer = await refused(call)
            assert (answer.code, answer.reason) == ("UNAVAILABLE", "FEED_STALE")
    await eventually(lambda: teppan.turn(station, "Suspend"))
