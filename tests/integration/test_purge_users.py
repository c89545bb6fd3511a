"""PurgeUser, on sockets: nothing is left of a user but that they were there."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from teppan.common.v1 import options_pb2
from teppan.common.v1 import references_pb2 as references
from teppan.identity.v1 import tokens_pb2, users_pb2

from tests.integration.people import PASSWORD, disabled, enrolled, membership, state_of
from tests.integration.stage import Teppan, eventually, new, refused


@pytest.fixture
async def rows(teppan: Teppan) -> AsyncIterator[asyncpg.Connection]:
    """Sees everything."""
    connection = await asyncpg.connect(teppan.server.url(teppan.database))
    yield connection
    await connection.close()


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
