"""The keys that tokens are verified with."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import pytest

from faults import PeerUnavailable
from rpccommon.keys import FetchedKeys, public_jwk
from tests.unit.rpc_stage import USER_KEY, fixed_keys, now


class Jwks:
    """A JWK Set that is fetched."""

    def __init__(self) -> None:
        self.kids = ["k1"]
        self.fetches = 0
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self) -> str:
        self.fetches += 1
        await self.gate.wait()
        if self.away:
            raise PeerUnavailable("identity does not answer")
        return json.dumps({"keys": [public_jwk(kid, USER_KEY.public_key()) for kid in self.kids]})


@pytest.fixture
def jwks() -> Jwks:
    return Jwks()


@pytest.fixture
def clock() -> list[datetime]:
    return [now()]


@pytest.fixture
def key(jwks: Jwks, clock: list[datetime]) -> Callable[[str], Awaitable[object]]:
    return FetchedKeys(jwks.fetch, lambda: clock[0]).key


async def test_keys_are_fetched_once_for_all_who_wait(jwks: Jwks, key: Callable[[str], Awaitable[object]]) -> None:
    jwks.gate.clear()
    waiting = [asyncio.ensure_future(key("k1")) for _ in range(20)]
    await asyncio.sleep(0)
    jwks.gate.set()
    assert None not in await asyncio.gather(*waiting)
    assert jwks.fetches == 1


async def test_an_unknown_key_is_asked_for_every_five_seconds(
    jwks: Jwks, clock: list[datetime], key: Callable[[str], Awaitable[object]]
) -> None:
    await key("k1")
    jwks.kids = ["k1", "k2"]
    assert [await key("k2") for _ in range(3)] == [None] * 3
    assert jwks.fetches == 1
    clock[0] += timedelta(seconds=5)
    assert await key("k2") is not None
    assert await key("k3") is None
    assert jwks.fetches == 2


async def test_known_keys_outlive_their_publisher_and_unknown_ones_do_not(
    jwks: Jwks, clock: list[datetime], key: Callable[[str], Awaitable[object]]
) -> None:
    await key("k1")
    jwks.away = True
    clock[0] += timedelta(hours=1)
    assert await key("k1") is not None
    with pytest.raises(PeerUnavailable):
        await key("k2")
    jwks.away = False
    clock[0] += timedelta(seconds=1)
    assert await key("k2") is None


async def test_a_key_that_is_no_longer_published_ends_after_ten_minutes(
    jwks: Jwks, clock: list[datetime], key: Callable[[str], Awaitable[object]]
) -> None:
    await key("k1")
    jwks.kids = ["k2"]
    clock[0] += timedelta(minutes=10)
    assert await key("k1") is None


async def test_a_failure_answers_everybody_who_waited_behind_it(jwks: Jwks, key: Callable[[str], Awaitable[object]]) -> None:
    jwks.away = True
    answers = await asyncio.gather(*(key("k1") for _ in range(20)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {PeerUnavailable}
    assert jwks.fetches == 1


async def test_a_jwk_set_may_hold_keys_of_other_kinds() -> None:
    assert await fixed_keys("k1", USER_KEY).key("k2") is None
