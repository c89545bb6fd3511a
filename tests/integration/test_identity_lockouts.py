"""Failed logins: five from one address make it wait, and nobody else; many from everywhere make all answers slow, and lock nobody out."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest
from teppan.identity.v1 import users_pb2

from dbcommon.database import assert_idle
from identity.domain.logins import DELAY_MAX, DELAYED_MAX, FAILURES_MAX, LOCKED, LoginBusy, LoginRefused, delay
from identity.usecases.logins import Logins
from tests.integration.stage import Teppan
from tests.integration.test_identity_logins import HERE, PASSWORD, WRONG, Clock, Watched, logins_of, rows, user

__all__ = ["rows", "user"]
ELSEWHERE = [f"198.51.100.{number}" for number in range(8)]


@dataclass
class Slept:
    """How long answers were held back, with no connection held."""

    seconds: list[float] = field(default_factory=list)
    until: asyncio.Event | None = None

    async def __call__(self, seconds: float) -> None:
        assert_idle()
        self.seconds.append(seconds)
        if self.until:
            await self.until.wait()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slept() -> Slept:
    return Slept()


@pytest.fixture
async def logins(teppan: Teppan, clock: Clock, slept: Slept) -> AsyncIterator[Logins]:
    async with logins_of(teppan, Watched(), clock) as made:
        yield replace(made, sleep=slept)


async def fail(logins: Logins, email: str, address: str = HERE, times: int = FAILURES_MAX) -> None:
    for _ in range(times):
        with pytest.raises(LoginRefused):
            await logins.login(email, WRONG, address=address)


async def test_who_failed_from_one_address_waits_there_and_nobody_waits_elsewhere(
    logins: Logins, slept: Slept, user: users_pb2.User
) -> None:
    await fail(logins, user.email)
    with pytest.raises(LoginRefused):
        await logins.login(user.email, PASSWORD, address=HERE)
    assert (await logins.login(user.email, PASSWORD, address=ELSEWHERE[0])).token == user.user_id
    with pytest.raises(LoginRefused):  # a success elsewhere does not open the address that guesses
        await logins.login(user.email, PASSWORD, address=HERE)
    assert slept.seconds == []


async def test_a_lock_ends_after_half_an_hour_however_often_it_was_tried_meanwhile(
    logins: Logins, clock: Clock, user: users_pb2.User
) -> None:
    await fail(logins, user.email)
    clock.now += LOCKED - timedelta(seconds=1)
    await fail(logins, user.email, times=1)
    with pytest.raises(LoginRefused):
        await logins.login(user.email, PASSWORD, address=HERE)
    clock.now += timedelta(seconds=1)
    assert (await logins.login(user.email, PASSWORD, address=HERE)).token == user.user_id


async def test_a_success_forgets_the_failures_from_there(logins: Logins, user: users_pb2.User) -> None:
    for _ in range(3):
        await fail(logins, user.email, times=FAILURES_MAX - 1)
        await logins.login(user.email, PASSWORD, address=HERE)


async def test_many_failures_from_everywhere_slow_all_answers_and_lock_nobody_out(
    logins: Logins, slept: Slept, clock: Clock, user: users_pb2.User
) -> None:
    nobody = f"{uuid4().hex}@example.com"
    for address in ELSEWHERE:
        for email in (user.email, nobody):
            await fail(logins, email, address)
    slept.seconds.clear()
    assert (await logins.login(user.email, PASSWORD, address=HERE)).token == user.user_id
    await fail(logins, user.email, times=1)
    await fail(logins, nobody, times=1)
    assert slept.seconds == [DELAY_MAX] * 3
    clock.now += LOCKED
    await logins.login(user.email, PASSWORD, address=HERE)
    assert slept.seconds == [DELAY_MAX] * 3


async def test_answers_that_are_held_back_are_bounded_and_others_go_on(
    logins: Logins, slept: Slept, user: users_pb2.User, teppan: Teppan
) -> None:
    for address in ELSEWHERE:
        await fail(logins, user.email, address)
    slept.seconds.clear()
    slept.until = asyncio.Event()
    held = []
    for number in range(DELAYED_MAX):  # not all at once: passwords are hashed a few at a time
        held.append(asyncio.create_task(logins.login(user.email, PASSWORD, address=f"203.0.113.{number}")))
        while len(slept.seconds) <= number:
            await asyncio.sleep(0.01)
    with pytest.raises(LoginBusy):
        await logins.login(user.email, PASSWORD, address=HERE)
    with pytest.raises(LoginRefused):
        await logins.login("somebody-else@example.com", WRONG, address=HERE)
    slept.until.set()
    assert {issued.token for issued in await asyncio.gather(*held)} == {user.user_id}


async def test_guesses_sent_at_once_are_counted_one_by_one(teppan: Teppan, user: users_pb2.User) -> None:
    passwords = Watched(held=asyncio.Event())
    async with logins_of(teppan, passwords, Clock()) as logins:
        right = asyncio.create_task(logins.login(user.email, PASSWORD, address=HERE))
        wrong = [asyncio.create_task(logins.login(user.email, WRONG, address=HERE)) for _ in range(FAILURES_MAX)]
        await asyncio.wait(wrong)
        assert passwords.held
        passwords.held.set()
        assert all(isinstance(task.exception(), LoginRefused) for task in wrong)
        with pytest.raises(LoginRefused):  # it was read before the lock, and is right; the lock came first all the same
            await right


async def test_failures_of_anybody_are_kept_for_half_an_hour_and_then_forgotten(
    logins: Logins, clock: Clock, rows: asyncpg.Pool, user: users_pb2.User
) -> None:
    await rows.execute("DELETE FROM identity.login_failures")
    await fail(logins, user.email, times=1)
    await fail(logins, f"{uuid4().hex}@example.com", times=2)
    counted = "SELECT array_agg(failures ORDER BY failures) FROM identity.login_failures WHERE address = $1"
    assert await rows.fetchval(counted, HERE) == [1, 2]
    forgetting = asyncio.create_task(logins.forget())
    clock.now += LOCKED
    await fail(logins, user.email, ELSEWHERE[0], times=1)
    forgetting.cancel()
    again = asyncio.create_task(logins.forget())
    while await rows.fetchval("SELECT count(*) FROM identity.login_failures") != 1:
        await asyncio.sleep(0.01)
    again.cancel()
    assert await rows.fetchval("SELECT address FROM identity.login_failures") == ELSEWHERE[0]


def test_a_delay_grows_to_its_limit_and_begins_after_what_one_address_may_do() -> None:
    assert [delay(failures) for failures in (0, FAILURES_MAX, FAILURES_MAX + 1, FAILURES_MAX + 2)] == [0.0, 0.0, 0.1, 0.2]
    assert {delay(failures) for failures in (20, 1_000, 10**9)} == {DELAY_MAX}
