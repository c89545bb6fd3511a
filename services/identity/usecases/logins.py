"""Logins: a password for an access token."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from callers import Caller, Kind
from dbcommon.database import Database
from dbcommon.private import Keyring
from identity.domain.logins import TOKEN_LIFETIME, Account, Issued, may_try, refused
from identity.store import logins as store
from identity.store import memberships
from identity.usecases.users import Passwords


@dataclass(frozen=True, slots=True, kw_only=True)
class Logins:
    """The calls of TokensService. `sign` makes the token that says who a caller is."""

    platform: Database
    keyring: Keyring
    passwords: Passwords
    sign: Callable[[Caller, datetime], str]
    now: Callable[[], datetime]

    async def login(self, email: str, password: str) -> Issued:
        """Raises LoginRefused, after the same work whatever the reason, and LoginBusy. The email is normalised.

        No connection is held while a password is hashed. A success counts only if the account is not locked by then: of
        guesses sent all at once, no more are answered than of guesses one after the other.
        """
        account = await store.account(self.platform, self.keyring, email)
        right = await self.passwords.matches(account.password_hash if account else None, password)
        now = self.now()
        if account is None or not right or not may_try(account, now):
            async with self.platform.transaction() as tx:
                await store.count_failure(tx, self.keyring, email, now=now)
            raise refused()
        return await self._admit(account, password, now)

    async def _admit(self, account: Account, password: str, now: datetime) -> Issued:
        new_hash = await self.passwords.hash(password) if self.passwords.outdated(account.password_hash) else None
        async with self.platform.transaction() as tx:
            if not await store.count_success(tx, account.user_id, new_hash=new_hash, now=now):
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
