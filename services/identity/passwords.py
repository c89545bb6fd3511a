"""Passwords: argon2id, in threads of their own, so that the event loop and the database never wait for it.

They are compared in NFC (as RFC 8265 has it): keyboards of different systems write the same letter in different ways.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar

from argon2 import Parameters, PasswordHasher
from argon2.exceptions import VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from identity.domain.logins import LoginBusy
from names import normalised

HASHED_AT_ONCE = 2
WAITING_MAX = 16
NOBODYS = "nobody's password"

Result = TypeVar("Result")


class Argon2Passwords:
    """Hashes and verifies, a few at once."""

    def __init__(self, parameters: Parameters = RFC_9106_LOW_MEMORY) -> None:
        """64 MiB and three passes for each password, by default."""
        self._hasher = PasswordHasher.from_parameters(parameters)
        self._threads = ThreadPoolExecutor(HASHED_AT_ONCE, thread_name_prefix="argon2")
        self._places = BoundedSemaphore(HASHED_AT_ONCE + WAITING_MAX)
        self._nobodys = self._hasher.hash(NOBODYS)

    async def hash(self, password: str) -> str:
        """The hash to keep, in PHC format."""
        return await self._run(lambda: self._hasher.hash(normalised(password)))

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is the one; without a hash: the same work, and no."""
        right = await self._run(lambda: self._matches(password_hash or self._nobodys, password))
        return right and password_hash is not None

    def outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(password_hash)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, normalised(password))
        except VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], Result]) -> Result:
        if not self._places.acquire(blocking=False):
            raise LoginBusy("too many passwords are being checked; try again", limit=HASHED_AT_ONCE + WAITING_MAX)
        done = self._threads.submit(work)
        done.add_done_callback(lambda _: self._places.release())  # by the work's end, not by that of a caller who has gone
        return await asyncio.wrap_future(done)
