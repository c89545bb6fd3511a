"""Logins: a token for the right password, one answer for everything else, and a lock after five failures."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from argon2.profiles import CHEAPEST
from teppan.common.v1 import options_pb2
from teppan.identity.v1 import memberships_pb2, stations_pb2, tokens_pb2, users_pb2

from dbcommon.database import assert_idle
from identity.__main__ import parts_of
from identity.config import read
from identity.domain.logins import FAILURES_MAX, LoginRefused
from identity.passwords import Argon2Passwords
from identity.usecases.logins import Logins
from rpccommon.auth import Verifier
from rpccommon.keys import FixedKeys
from rpccommon.revocations import Revocations
from tests.integration.stage import Teppan, new, refused
from tests.unit.rpc_stage import nothing

PASSWORD = "correct horse battery"  # noqa: S105  # of nobody outside of this test
WRONG = "wrong horse battery"
HERE = "192.0.2.1"


@dataclass
class Watched(Argon2Passwords):
    """Cheap, counts, and holds the right password back where it is told to."""

    asked: list[str] = field(default_factory=list)
    held: asyncio.Event | None = None

    def __post_init__(self) -> None:
        super().__init__(CHEAPEST)

    async def matches(self, password_hash: str | None, password: str) -> bool:
        assert_idle()
        self.asked.append(password)
        if self.held and password == PASSWORD:
            await self.held.wait()
        return await super().matches(password_hash, password)

    async def hash(self, password: str) -> str:
        assert_idle()
        return await super().hash(password)


@dataclass
class Clock:
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now


def verifier_of(keys: FixedKeys) -> Verifier:
    """One that has heard of nobody who was closed."""
    return Verifier(keys, keys, Revocations(nothing, Clock()), Clock())


@asynccontextmanager
async def logins_of(teppan: Teppan, passwords: Argon2Passwords, clock: Callable[[], datetime]) -> AsyncIterator[Logins]:
    """The use case alone, with a clock of the test's."""
    config = read(teppan.environ("identity"))
    parts = parts_of(config)
    try:
        yield Logins(
            platform=parts.platform, keyring=config.keyring, passwords=passwords, sign=lambda caller, _: caller.subject, now=clock
        )
    finally:
        await parts.platform.close()


@pytest.fixture
async def rows(teppan: Teppan) -> AsyncIterator[asyncpg.Pool]:
    """Sees and changes all rows of identity."""
    async with asyncpg.create_pool(teppan.server.url(teppan.database, "identity_platform"), min_size=1, max_size=1) as pool:
        yield pool


@pytest.fixture
async def user(teppan: Teppan) -> users_pb2.User:
    request = users_pb2.CreateUserRequest(
        request_id=new(), name="Ann", email=f"{uuid4().hex}@example.com", password=PASSWORD, platform_role=options_pb2.PLATFORM_ROLE_SUPPORT
    )  # fmt: skip
    return (await teppan.users.CreateUser(request, metadata=teppan.admin)).user  # type: ignore[no-any-return]


def login(teppan: Teppan, email: str, password: str = PASSWORD) -> Any:
    return teppan.tokens.Login(tokens_pb2.LoginRequest(email=email, password=password))


async def member(teppan: Teppan, user: users_pb2.User, **changes: Any) -> UUID:
    """A new station, and the user in it; its ID."""
    station = await teppan.station()
    request = memberships_pb2.AddMemberRequest(
        request_id=new(), station_id=station, user_id=user.user_id, role=options_pb2.ROLE_AGENT, **changes
    )
    await teppan.members.AddMember(request, metadata=teppan.admin)
    return UUID(station)


async def test_the_right_password_gives_a_token_that_the_published_keys_verify(teppan: Teppan, user: users_pb2.User) -> None:
    issued = await login(teppan, user.email.upper())
    keys = FixedKeys.from_jwks((await teppan.tokens.GetKeys(tokens_pb2.GetKeysRequest())).jwks_json)
    clock = Clock()
    caller = await verifier_of(keys).caller(f"Bearer {issued.access_token}")
    assert (caller.subject, caller.name, caller.platform_role, caller.roles) == (
        user.user_id,
        "Ann",
        options_pb2.PLATFORM_ROLE_SUPPORT,
        {},
    )
    assert issued.user_id == user.user_id
    ends = issued.expire_time.ToDatetime(tzinfo=UTC)
    assert timedelta(minutes=14) < ends - clock.now <= timedelta(minutes=15)
    answer = await teppan.stations.ListStations(
        stations_pb2.ListStationsRequest(), metadata=(("authorization", f"Bearer {issued.access_token}"),)
    )
    assert len(answer.stations) > 0


async def test_a_token_carries_the_roles_that_count_now(teppan: Teppan, user: users_pb2.User) -> None:
    active, ending = await member(teppan, user), await member(teppan, user, expire_time=datetime.now(UTC) + timedelta(hours=1))
    suspended, expired, deleted = [await member(teppan, user) for _ in range(3)]
    await teppan.turn(str(suspended), "Suspend")
    await teppan.turn(str(deleted), "Delete")
    owner = await asyncpg.connect(teppan.server.url(teppan.database, "identity_owner"))
    await owner.execute("UPDATE identity.memberships SET expire_time = now() WHERE station_id = $1", expired)
    await owner.close()
    issued = await login(teppan, user.email)
    keys = FixedKeys.from_jwks((await teppan.tokens.GetKeys(tokens_pb2.GetKeysRequest())).jwks_json)
    caller = await verifier_of(keys).caller(f"Bearer {issued.access_token}")
    assert caller.roles == dict.fromkeys((active, ending, suspended), options_pb2.ROLE_AGENT)
    await teppan.turn(str(deleted), "Undelete")  # what was given before the deletion counts again
    issued = await login(teppan, user.email)
    caller = await verifier_of(keys).caller(f"Bearer {issued.access_token}")
    assert caller.roles == dict.fromkeys((active, ending, suspended, deleted), options_pb2.ROLE_AGENT)


async def test_everything_that_is_wrong_has_one_answer(teppan: Teppan, user: users_pb2.User, rows: asyncpg.Pool) -> None:
    answers = [await refused(login(teppan, f"{uuid4().hex}@example.com"))]
    answers += [await refused(login(teppan, user.email, WRONG)) for _ in range(FAILURES_MAX)]
    answers.append(await refused(login(teppan, user.email)))  # locked by now
    await rows.execute("DELETE FROM identity.login_failures")
    request = users_pb2.DisableUserRequest(request_id=new(), user_id=user.user_id)
    await teppan.users.DisableUser(request, metadata=teppan.admin)
    answers.append(await refused(login(teppan, user.email)))
    seen = {(each.code, each.reason, each.message, tuple(sorted(set(each.metadata) - {"call_id"}))) for each in answers}
    assert seen == {("UNAUTHENTICATED", "LOGIN_REFUSED", answers[0].message, ())}
    assert user.email not in repr(answers)


async def test_everything_that_is_wrong_is_the_same_work(teppan: Teppan, user: users_pb2.User) -> None:
    passwords, clock = Watched(), Clock()
    async with logins_of(teppan, passwords, clock) as logins:
        for email, password in [("nobody@example.com", PASSWORD), *[(user.email, WRONG)] * FAILURES_MAX, (user.email, PASSWORD)]:
            with pytest.raises(LoginRefused):
                await logins.login(email, password, address=HERE)
        assert passwords.asked == [PASSWORD, *[WRONG] * FAILURES_MAX, PASSWORD]


async def test_a_hash_of_other_parameters_is_made_anew_by_a_login(teppan: Teppan, user: users_pb2.User, rows: asyncpg.Pool) -> None:
    statement = "SELECT password_hash FROM identity.users WHERE id = $1"
    before = await rows.fetchval(statement, UUID(user.user_id))
    async with logins_of(teppan, Watched(), Clock()) as logins:
        await logins.login(user.email, PASSWORD, address=HERE)
    after = await rows.fetchval(statement, UUID(user.user_id))
    assert "m=8," in after
    assert after != before
    assert (await login(teppan, user.email)).user_id == user.user_id


async def test_more_logins_than_can_wait_are_told_to_come_again(teppan: Teppan, user: users_pb2.User) -> None:
    answers = await asyncio.gather(*(refused(login(teppan, user.email, WRONG)) for _ in range(40)))
    busy = [answer for answer in answers if answer.reason == "LOGIN_BUSY"]
    assert {answer.reason for answer in answers} == {"LOGIN_BUSY", "LOGIN_REFUSED"}
    assert {answer.code for answer in busy} == {"RESOURCE_EXHAUSTED"}
    assert all(answer.retry_seconds for answer in busy)


async def test_a_malformed_login_is_refused_with_every_bad_field(teppan: Teppan) -> None:
    refusal = await refused(teppan.tokens.Login(tokens_pb2.LoginRequest(email="a", password="x" * 257)))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "FIELDS_INVALID")
    assert set(refusal.fields) == {"email", "password"}
