"""Users and memberships over a real socket."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from teppan.common.v1 import options_pb2
from teppan.identity.v1 import memberships_pb2, stations_pb2, users_pb2

from callers import Caller, Kind
from dbcommon.requests import Requests
from identity.__main__ import parts_of
from identity.config import read
from identity.domain.memberships import NewMember, Role
from identity.tables import requests_
from identity.usecases.memberships import Memberships
from tests.integration.stage import Metadata, Teppan, new, refused

PASSWORD = "correct horse battery"  # noqa: S105  # of nobody outside of this test
SUPPORT = options_pb2.PLATFORM_ROLE_SUPPORT


@pytest.fixture
async def rows(teppan: Teppan) -> AsyncIterator[asyncpg.Pool]:
    """Sees all rows of identity."""
    async with asyncpg.create_pool(teppan.server.url(teppan.database, "identity_platform"), min_size=1, max_size=1) as pool:
        yield pool


@pytest.fixture
async def station(teppan: Teppan) -> str:
    return await teppan.station()


@pytest.fixture
async def user(teppan: Teppan) -> str:
    return str((await created(teppan)).user_id)


def wanted(**changes: Any) -> users_pb2.CreateUserRequest:
    """A good request, with an email that nobody has."""
    good = {"request_id": new(), "name": "Ann Bee", "email": f"{uuid4().hex}@example.com", "password": PASSWORD}
    return users_pb2.CreateUserRequest(**{**good, **changes})


async def created(teppan: Teppan, **changes: Any) -> users_pb2.User:
    answer: users_pb2.CreateUserResponse = await teppan.users.CreateUser(wanted(**changes), metadata=teppan.admin)
    return answer.user


def add(teppan: Teppan, station: str, user: str, *, by: Metadata | None = None, **changes: Any) -> Any:
    """The call that makes somebody a viewer; by an administrator of the platform, where nobody else is named."""
    good = {"request_id": new(), "station_id": station, "user_id": user, "role": options_pb2.ROLE_VIEWER}
    request = memberships_pb2.AddMemberRequest(**{**good, **changes})
    return teppan.members.AddMember(request, metadata=by or teppan.admin)


async def test_a_user_is_shown_with_the_email_to_whom_makes_them(teppan: Teppan) -> None:
    request = wanted(email=f"Ann.{uuid4().hex}@Example.COM", platform_role=SUPPORT)
    user = (await teppan.users.CreateUser(request, metadata=teppan.admin)).user
    assert (user.name, user.email, user.platform_role) == ("Ann Bee", request.email.lower(), SUPPORT)
    assert (user.state, user.etag) == (users_pb2.USER_STATE_ACTIVE, "1")


async def test_what_is_stored_of_a_user_is_sealed(teppan: Teppan, rows: asyncpg.Pool) -> None:
    user = await created(teppan)
    row = await rows.fetchrow("SELECT * FROM identity.users WHERE id = $1", UUID(user.user_id))
    stored = repr(dict(row))
    assert user.email not in stored
    assert PASSWORD not in stored
    assert row["password_hash"].startswith("$argon2id$")


async def test_a_repeated_creation_finds_the_user(teppan: Teppan) -> None:
    request, admin = wanted(), teppan.admin
    first = await teppan.users.CreateUser(request, metadata=admin)
    assert await teppan.users.CreateUser(request, metadata=admin) == first
    request.password += "!"
    assert (await refused(teppan.users.CreateUser(request, metadata=admin))).reason == "REQUEST_ID_REUSED"


async def test_of_copies_of_a_creation_sent_at_once_one_has_an_effect(teppan: Teppan) -> None:
    request, admin = wanted(), teppan.admin
    answers = await asyncio.gather(*(teppan.users.CreateUser(request, metadata=admin) for _ in range(4)))
    assert len({answer.user.user_id for answer in answers}) == 1


async def test_an_email_is_taken_once_whatever_its_case_and_is_not_repeated(teppan: Teppan) -> None:
    first, admin = await created(teppan), teppan.admin
    again = wanted(email=first.email.upper())
    for _ in range(2):
        refusal = await refused(teppan.users.CreateUser(again, metadata=admin))
        assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "EMAIL_TAKEN")
        assert first.email not in repr(refusal).lower()


async def test_a_malformed_user_is_refused_with_every_bad_field(teppan: Teppan) -> None:
    bad = users_pb2.CreateUserRequest(request_id="x", email="nobody", password="short", platform_role=9)  # type: ignore[arg-type]  # noqa: S106
    refusal = await refused(teppan.users.CreateUser(bad, metadata=teppan.admin))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "FIELDS_INVALID")
    assert set(refusal.fields) == {"request_id", "name", "email", "password", "platform_role"}
    assert "short" not in repr(refusal)


async def test_only_administrators_of_the_platform_make_users(teppan: Teppan) -> None:
    for who in (teppan.bearer(), teppan.member(new()), teppan.bearer(platform_role=SUPPORT), teppan.service("bookings")):
        assert (await refused(teppan.users.CreateUser(wanted(), metadata=who))).reason == "PERMISSION_DENIED"
    assert (await refused(teppan.users.CreateUser(wanted()))).reason == "TOKEN_MISSING"


async def test_a_member_is_added_once_for_each_request(teppan: Teppan, station: str, user: str) -> None:
    expiry = datetime.now(UTC) + timedelta(days=1)
    admin, request_id = teppan.admin, new()
    role = options_pb2.ROLE_AGENT
    first = await add(teppan, station, user, by=admin, request_id=request_id, role=role, expire_time=expiry)
    assert (first.member.station_id, first.member.user_id, first.member.role) == (station, user, role)
    assert first.member.expire_time.ToDatetime(tzinfo=UTC) == expiry
    assert await add(teppan, station, user, by=admin, request_id=request_id, role=role, expire_time=expiry) == first
    refusal = await refused(add(teppan, station, user, by=admin, request_id=request_id, role=role))
    assert refusal.reason == "REQUEST_ID_REUSED"


async def test_nobody_is_a_member_of_a_station_twice(teppan: Teppan, station: str, user: str) -> None:
    await add(teppan, station, user)
    refusal = await refused(add(teppan, station, user, role=options_pb2.ROLE_ADMIN))
    assert (refusal.code, refusal.reason, refusal.metadata["user_id"]) == ("ALREADY_EXISTS", "MEMBER_EXISTS", user)


async def test_a_user_that_is_not_there_becomes_no_member(teppan: Teppan, station: str) -> None:
    refusal = await refused(add(teppan, station, new()))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "USER_NOT_FOUND")


async def test_a_station_that_is_not_there_has_no_members(teppan: Teppan, user: str) -> None:
    refusal = await refused(add(teppan, new(), user, by=teppan.admin))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "STATION_NOT_FOUND")


async def test_a_suspended_station_takes_no_members(teppan: Teppan, station: str, user: str) -> None:
    request = stations_pb2.SuspendStationRequest(request_id=new(), station_id=station)
    await teppan.stations.SuspendStation(request, metadata=teppan.admin)
    refusal = await refused(add(teppan, station, user))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "STATION_STATE")
    assert (refusal.metadata["state"], refusal.metadata["wanted"]) == ("SUSPENDED", "ACTIVE")


async def test_a_membership_is_not_made_to_have_expired(teppan: Teppan, station: str, user: str) -> None:
    refusal = await refused(add(teppan, station, user, expire_time=datetime.now(UTC) - timedelta(seconds=1)))
    assert (refusal.code, refusal.reason, set(refusal.fields)) == ("INVALID_ARGUMENT", "FIELDS_INVALID", {"expire_time"})


async def test_a_malformed_membership_is_refused_with_every_bad_field(teppan: Teppan) -> None:
    bad = memberships_pb2.AddMemberRequest(request_id="x", station_id="y", user_id="z")
    refusal = await refused(teppan.members.AddMember(bad, metadata=teppan.admin))
    assert set(refusal.fields) == {"request_id", "station_id", "user_id", "role"}


async def test_only_administrators_of_the_platform_add_members_and_nobody_else_hears_who_there_is(
    teppan: Teppan, station: str, user: str
) -> None:
    for who in (teppan.member(station, options_pb2.ROLE_ADMIN), teppan.bearer(platform_role=SUPPORT), teppan.service("bookings")):
        refusals = [await refused(add(teppan, station, each, by=who)) for each in (user, new())]
        assert {(refusal.reason, refusal.message) for refusal in refusals} == {("PERMISSION_DENIED", refusals[0].message)}
    assert (await add(teppan, station, user, by=teppan.admin)).member.user_id == user


async def test_a_user_has_at_most_as_many_memberships_as_a_token_carries(teppan: Teppan, user: str) -> None:
    stations = [await teppan.station() for _ in range(23)]
    for station in stations[:19]:
        await add(teppan, station, user)
    last = [asyncio.ensure_future(refused(add(teppan, station, user))) for station in stations[19:]]
    await asyncio.wait(last)
    limits = [future.result() for future in last if future.exception() is None]
    assert len(limits) == 3, "of four who add the twentieth at once, one does"
    assert {(each.code, each.reason, each.metadata["limit"]) for each in limits} == {
        ("FAILED_PRECONDITION", "MEMBERSHIPS_LIMIT", "20")
    }
    assert (await refused(add(teppan, stations[0], user))).reason == "MEMBER_EXISTS"


async def test_who_adds_the_twentieth_is_waited_for(teppan: Teppan, user: str, rows: asyncpg.Pool) -> None:
    stations = [await teppan.station() for _ in range(21)]
    for station in stations[:19]:
        await add(teppan, station, user)
    insert = "INSERT INTO identity.memberships (station_id, user_id, role, version, create_time) VALUES ($1, $2, 1, 1, now())"
    first, second = [await asyncpg.connect(teppan.server.url(teppan.database, "identity_app")) for _ in range(2)]
    try:
        for connection, station in ((first, stations[19]), (second, stations[20])):
            await connection.execute(f"SET teppan.station_id = '{station}'")
        transaction = first.transaction()
        await transaction.start()
        await first.execute(insert, UUID(stations[19]), UUID(user))
        later = asyncio.create_task(second.execute(insert, UUID(stations[20]), UUID(user)))
        blocked = "SELECT cardinality(pg_blocking_pids($1)) > 0"
        while not later.done() and not await rows.fetchval(blocked, second.get_server_pid()):
            await asyncio.sleep(0.01)
        await transaction.commit()
        with pytest.raises(asyncpg.CheckViolationError):
            await later
    finally:
        await first.close()
        await second.close()


async def test_a_repeat_finds_the_membership_also_once_it_has_expired(teppan: Teppan, station: str, user: str) -> None:
    config = read(teppan.environ("identity"))
    parts, clock = parts_of(config), [datetime.now(UTC)]
    members = Memberships(app=parts.app, requests=Requests(parts.app, requests_, key=config.common.token_key), now=lambda: clock[0])
    asked = NewMember(station_id=UUID(station), user_id=UUID(user), role=Role.VIEWER, expire_time=clock[0] + timedelta(hours=1))
    caller, request_id = Caller(kind=Kind.USER, subject=new()), uuid4()
    try:
        first = await members.add(caller, asked, request_id=request_id)
        clock[0] += timedelta(hours=2)
        assert await members.add(caller, asked, request_id=request_id) == first
    finally:
        await parts.app.close()


async def test_the_application_sees_no_users_and_one_station_at_a_time(teppan: Teppan, station: str, user: str) -> None:
    await add(teppan, station, user)
    foreign = await teppan.station()
    connection = await asyncpg.connect(teppan.server.url(teppan.database, "identity_app"))
    try:
        assert await connection.fetch("SELECT id FROM identity.stations") == []
        await connection.execute(f"SET teppan.station_id = '{foreign}'")
        assert [str(row["id"]) for row in await connection.fetch("SELECT id FROM identity.stations")] == [foreign]
        assert await connection.fetch("SELECT * FROM identity.memberships") == []
        for forbidden in (
            "SELECT 1 FROM identity.users",
            "UPDATE identity.stations SET state = 1",
            "DELETE FROM identity.memberships",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
    finally:
        await connection.close()
