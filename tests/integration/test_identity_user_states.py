"""Users kept out and let in again: once for each request, by whom may, and no login gets past it."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from teppan.common.v1 import options_pb2
from teppan.identity.v1 import tokens_pb2
from teppan.identity.v1 import users_pb2 as pb

from identity.domain.logins import LoginRefused
from tests.integration.stage import Metadata, Teppan, new, refused
from tests.integration.test_identity_logins import HERE, Clock, Watched, logins_of

PASSWORD = "correct horse battery"  # noqa: S105  # of nobody outside of this test
AFTER = {"Disable": pb.USER_STATE_DISABLED, "Enable": pb.USER_STATE_ACTIVE}
"""What each verb leads to."""
BEFORE = {"Disable": "Enable", "Enable": "Disable"}
"""What a verb takes back."""


def request_of(verb: str, user_id: str, **changes: Any) -> Any:
    return getattr(pb, f"{verb}UserRequest")(**{"request_id": new(), "user_id": user_id, **changes})


async def turn(teppan: Teppan, verb: str, request: Any, *, by: Metadata | None = None) -> pb.User:
    answer = await getattr(teppan.users, f"{verb}User")(request, metadata=teppan.admin if by is None else by)
    return answer.user  # type: ignore[no-any-return]  # of either response


async def created(teppan: Teppan) -> pb.User:
    request = pb.CreateUserRequest(request_id=new(), name="Ann", email=f"{uuid4().hex}@example.com", password=PASSWORD)
    answer: pb.CreateUserResponse = await teppan.users.CreateUser(request, metadata=teppan.admin)
    return answer.user


async def fit(teppan: Teppan, verb: str) -> pb.User:
    """A new user whom the verb fits."""
    user = await created(teppan)
    return await turn(teppan, "Disable", request_of("Disable", user.user_id)) if verb == "Enable" else user


def login(teppan: Teppan, email: str, password: str = PASSWORD) -> Any:
    return teppan.tokens.Login(tokens_pb2.LoginRequest(email=email, password=password))


@pytest.mark.parametrize("verb", AFTER)
async def test_a_change_that_fits_is_shown_by_state_time_and_etag(teppan: Teppan, verb: str) -> None:
    was = await fit(teppan, verb)
    now = await turn(teppan, verb, request_of(verb, was.user_id, etag=was.etag))
    assert (now.state, int(now.etag)) == (AFTER[verb], int(was.etag) + 1)
    assert now.update_time != was.update_time
    assert (now.user_id, now.name, now.email, now.create_time) == (was.user_id, was.name, was.email, was.create_time)


@pytest.mark.parametrize("verb", AFTER)
async def test_a_change_that_does_not_fit_is_refused_and_stays_refused(teppan: Teppan, verb: str) -> None:
    user = await fit(teppan, verb)
    user = await turn(teppan, verb, request_of(verb, user.user_id))
    request, admin = request_of(verb, user.user_id), teppan.admin
    answers = [await refused(turn(teppan, verb, request, by=admin))]
    await turn(teppan, BEFORE[verb], request_of(BEFORE[verb], user.user_id, etag=user.etag))
    answers.append(await refused(turn(teppan, verb, request, by=admin)))  # also where it would fit by now
    state = pb.UserState.Name(AFTER[verb]).removeprefix("USER_STATE_")
    for refusal in answers:
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "USER_STATE")
        assert (refusal.metadata["state"], refusal.metadata["wanted"]) == (state, state)
        assert user.email not in repr(refusal)


@pytest.mark.parametrize("verb", AFTER)
async def test_a_repeated_change_has_one_effect_and_finds_the_user_as_they_are_now(teppan: Teppan, verb: str) -> None:
    was = await fit(teppan, verb)
    request, admin = request_of(verb, was.user_id), teppan.admin
    answers = await asyncio.gather(*(turn(teppan, verb, request, by=admin) for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert int(answers[0].etag) == int(was.etag) + 1
    now = await turn(teppan, BEFORE[verb], request_of(BEFORE[verb], was.user_id))
    assert await turn(teppan, verb, request, by=admin) == now
    request.etag = now.etag
    assert (await refused(turn(teppan, verb, request, by=admin))).reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize("verb", AFTER)
async def test_of_many_who_make_the_same_change_at_once_one_does(teppan: Teppan, verb: str) -> None:
    user = await fit(teppan, verb)
    calls = [turn(teppan, verb, request_of(verb, user.user_id)) for _ in range(8)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, pb.User) for answer in answers) == 1


@pytest.mark.parametrize("verb", AFTER)
async def test_a_stale_etag_changes_nothing_and_is_not_held_against_the_request(teppan: Teppan, verb: str) -> None:
    was = await fit(teppan, verb)
    request, admin = request_of(verb, was.user_id, etag="7"), teppan.admin
    for _ in range(2):
        refusal = await refused(turn(teppan, verb, request, by=admin))
        assert (refusal.code, refusal.reason, refusal.metadata["etag"]) == ("ABORTED", "ETAG_STALE", was.etag)
    request.etag = was.etag
    assert (await turn(teppan, verb, request, by=admin)).state == AFTER[verb]


@pytest.mark.parametrize("verb", AFTER)
async def test_a_malformed_change_is_refused_with_every_bad_field(teppan: Teppan, verb: str) -> None:
    bad = getattr(pb, f"{verb}UserRequest")(request_id="x", user_id="y", etag="z" * 101)
    refusal = await refused(turn(teppan, verb, bad))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "FIELDS_INVALID")
    assert set(refusal.fields) == {"request_id", "user_id", "etag"}


@pytest.mark.parametrize("verb", AFTER)
async def test_the_platform_hears_that_a_user_is_not_there(teppan: Teppan, verb: str) -> None:
    for id in (new(), await teppan.station()):
        refusal = await refused(turn(teppan, verb, request_of(verb, id)))
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "USER_NOT_FOUND")


@pytest.mark.parametrize("verb", AFTER)
async def test_only_administrators_of_the_platform_change_a_users_state(teppan: Teppan, verb: str) -> None:
    user = await fit(teppan, verb)
    support = teppan.bearer(platform_role=options_pb2.PLATFORM_ROLE_SUPPORT)
    for who in (teppan.member(new()), support, teppan.service("bookings")):
        answers = [await refused(turn(teppan, verb, request_of(verb, id), by=who)) for id in (user.user_id, new())]
        assert {(each.code, each.reason) for each in answers} == {("PERMISSION_DENIED", "PERMISSION_DENIED")}
        assert answers[0].message == answers[1].message
    themselves = await refused(turn(teppan, verb, request_of(verb, user.user_id), by=teppan.bearer(subject=user.user_id)))
    # Who is disabled has no good token any more, as soon as that is heard.
    assert themselves.reason in {"PERMISSION_DENIED", "TOKEN_INVALID"}
    assert (await refused(turn(teppan, verb, request_of(verb, user.user_id), by=()))).reason == "TOKEN_MISSING"
    assert (await turn(teppan, verb, request_of(verb, user.user_id, etag=user.etag))).state == AFTER[verb]


async def test_a_disabled_user_is_refused_like_a_wrong_password_and_comes_in_again_when_enabled(teppan: Teppan) -> None:
    user = await created(teppan)
    assert (await login(teppan, user.email)).user_id == user.user_id
    wrong = await refused(login(teppan, user.email, "wrong horse battery"))
    await turn(teppan, "Disable", request_of("Disable", user.user_id))
    for password in (PASSWORD, "wrong horse battery"):
        refusal = await refused(login(teppan, user.email, password))
        assert (refusal.code, refusal.reason, refusal.message) == ("UNAUTHENTICATED", "LOGIN_REFUSED", wrong.message)
        assert set(refusal.metadata) == set(wrong.metadata)
    await turn(teppan, "Enable", request_of("Enable", user.user_id))
    assert (await login(teppan, user.email)).user_id == user.user_id


async def test_a_disabled_users_login_is_the_same_work_as_a_wrong_password(teppan: Teppan) -> None:
    user, passwords = await created(teppan), Watched()
    await turn(teppan, "Disable", request_of("Disable", user.user_id))
    async with logins_of(teppan, passwords, Clock()) as logins:
        with pytest.raises(LoginRefused):
            await logins.login(user.email, PASSWORD, address=HERE)
    assert passwords.asked == [PASSWORD]


async def test_a_login_that_was_under_way_is_refused_once_the_user_is_disabled(teppan: Teppan) -> None:
    user, passwords = await created(teppan), Watched(held=asyncio.Event())
    async with logins_of(teppan, passwords, Clock()) as logins:
        under_way = asyncio.create_task(logins.login(user.email, PASSWORD, address=HERE))
        while not passwords.asked:
            await asyncio.sleep(0.01)
        await turn(teppan, "Disable", request_of("Disable", user.user_id))
        assert passwords.held
        passwords.held.set()
        with pytest.raises(LoginRefused):  # it was read before, and is right
            await under_way
