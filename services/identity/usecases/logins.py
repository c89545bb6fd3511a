"""Logins: a password for an access token."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from threading import BoundedSemaphore

from callers import Caller, Kind
from dbcommon.database import Database
from dbcommon.private import Keyring
from identity.domain.logins import DELAYED_MAX, TOKEN_LIFETIME, Account, Issued, LoginBusy, delay, may_try, refused
from identity.store import logins as store
from identity.store import memberships
from identity.usecases.users import Passwords

FORGET_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Logins:
    """The calls of TokensService. `sign` makes the token that says who a caller is."""

    platform: Database
    keyring: Keyring
    passwords: Passwords
    sign: Callable[[Caller, datetime], str]
    now: Callable[[], datetime]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    held_back: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(DELAYED_MAX))

    async def login(self, email: str, password: str, *, address: str) -> Issued:
        """Raises LoginRefused, after the same work and the same time whatever the reason, and LoginBusy. The email is normalised.

        No connection is held while a password is hashed or an answer is held back. A success counts only if the address is not
        locked by then: of guesses sent all at once, no more are answered than of guesses one after the other.
        """
        attempt = await store.attempt(self.platform, self.keyring, email, address, now=self.now())
        account = attempt.account
        right = await self.passwords.matches(account.password_hash if account else None, password)
        await self._hold_back(delay(attempt.failures))
        if account is None or not right or not may_try(attempt):
            async with self.platform.transaction() as tx:
                await store.count_failure(tx, self.keyring, email, address, now=self.now())
            raise refused()
        return await self._admit(account, email, password, address)

    async def forget(self) -> None:
        """Removes failures of long ago, again and again; endless."""
        while True:
            async with self.platform.transaction() as tx:
                await store.forget(tx, self.now())
            await asyncio.sleep(FORGET_SECONDS)

    async def _hold_back(self, seconds: float) -> None:
        if not seconds:
            return
        if not self.held_back.acquire(blocking=False):
            raise LoginBusy("too many answers of this kind are held back; try again", limit=DELAYED_MAX)
        try:
            await self.sleep(seconds)
        finally:
            self.held_back.release()

    async def _admit(self, account: Account, email: str, password: str, address: str) -> Issued:
        new_hash = await self.passwords.hash(password) if self.passwords.outdated(account.password_hash) else None
        now = self.now()
        async with self.platform.transaction() as tx:
            counts = await store.count_success(tx, self.keyring, account.user_id, email, address, new_hash=new_hash, now=now)
            if not counts:
                raise refused()
            roles = await memberships.roles(tx, account.user_id, now=now)
        caller = Caller(
            kind=Kind.USER,
            subject=str(account.user_id),
            name=account.name,
            platform_role=account.platform_role.value,
            roles=roles,
        )
        expire_time = (now + TOKEN_LIFETIME).replace(microsecond=0)  # a token counts in seconds
        return Issued(token=self.sign(caller, now), expire_time=expire_time, user_id=account.user_id)
