"""Passwords: hashed in threads, a few at once."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from argon2.profiles import CHEAPEST, RFC_9106_LOW_MEMORY

from identity.domain.logins import LoginBusy
from identity.passwords import HASHED_AT_ONCE, WAITING_MAX, Argon2Passwords

ALL = HASHED_AT_ONCE + WAITING_MAX


class Held(Argon2Passwords):
    """Hashes nothing before it is let go."""

    def __init__(self) -> None:
        super().__init__(CHEAPEST)
        self.go = threading.Event()
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def _matches(self, password_hash: str, password: str) -> bool:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.go.wait(10)
        with self._lock:
            self.running -= 1
        return True


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.go.set()


async def test_a_password_matches_its_own_hash_only() -> None:
    passwords = Argon2Passwords(CHEAPEST)
    stored = await passwords.hash("correct horse battery")
    assert stored.startswith("$argon2id$")
    assert await passwords.matches(stored, "correct horse battery")
    assert not await passwords.matches(stored, "correct horse batterz")


@pytest.mark.parametrize(
    ("kept", "typed"), [("caf\u00e9 au lait", "cafe\u0301 au lait"), ("cafe\u0301 au lait", "caf\u00e9 au lait")]
)
async def test_a_password_is_the_same_however_a_keyboard_composes_it(kept: str, typed: str) -> None:
    passwords = Argon2Passwords(CHEAPEST)
    stored = await passwords.hash(kept)
    assert await passwords.matches(stored, typed)
    assert not await passwords.matches(stored, "cafe au lait")


async def test_nobody_has_no_password() -> None:
    passwords = Argon2Passwords(CHEAPEST)
    assert not await passwords.matches(None, "anything")
    assert not await passwords.matches(None, "nobody's password")


async def test_the_same_password_has_another_hash_each_time() -> None:
    passwords = Argon2Passwords(CHEAPEST)
    assert await passwords.hash("correct horse") != await passwords.hash("correct horse")


async def test_a_hash_of_other_parameters_is_outdated() -> None:
    cheap = Argon2Passwords(CHEAPEST)
    stored = await cheap.hash("correct horse")
    assert not cheap.outdated(stored)
    assert Argon2Passwords().outdated(stored)


async def test_hashes_cost_what_rfc_9106_recommends_by_default() -> None:
    default = RFC_9106_LOW_MEMORY
    stored = await Argon2Passwords().hash("correct horse")
    assert f"m={default.memory_cost},t={default.time_cost},p={default.parallelism}" in stored


async def test_so_many_at_once_and_no_more_than_so_many_wait(held: Held) -> None:
    asked = [asyncio.create_task(held.matches("x", "y")) for _ in range(ALL)]
    await asyncio.sleep(0)
    with pytest.raises(LoginBusy) as refusal:
        await held.matches("x", "y")
    assert refusal.value.retry_seconds
    held.go.set()
    assert await asyncio.gather(*asked) == [True] * ALL
    assert held.most == HASHED_AT_ONCE
    assert await held.matches("x", "y")


async def test_work_of_a_caller_who_has_gone_still_counts_until_it_ends(held: Held) -> None:
    asked = [asyncio.create_task(held.matches("x", "y")) for _ in range(ALL)]
    async with asyncio.timeout(5):
        while held.running < HASHED_AT_ONCE:
            await asyncio.sleep(0.001)
    for task in asked:
        task.cancel()
    await asyncio.wait(asked)
    waiting = [asyncio.create_task(held.matches("x", "y")) for _ in range(WAITING_MAX)]  # the places of those who only waited
    await asyncio.sleep(0)
    with pytest.raises(LoginBusy):
        await held.matches("x", "y")
    held.go.set()
    assert await asyncio.gather(*waiting) == [True] * WAITING_MAX
