"""Logins: a password for an access token."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from callers import Caller, Kind
from dbcommon.database import Database
from dbcommon.private import Keyring
from identity.domain.logins import TOKEN_LIFETIME, Account, Issued, may_try, refused
from identity.store import logins as store
from identity.store import memberships as membership_store
from identity.usecases.users import Passwords

Sign = Callable[[Caller, datetime, datetime], str]
"""Makes a token for a caller, from its time of issue to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logins:
    """The calls of TokensService. `jwks` has the public keys of what `sign` signs: a JWK Set, as JSON."""

    platform: Database
    keyring: Keyring
    passwords: Passwords
    sign: Sign
    jwks: str
    now: Callable[[], datetime]

    async def login(self, email: str, password: str) -> Issued:
        """Raises LoginRefused, with the same answer after the same work whatever is wrong; LoginBusy.

        No connection is held while a password is verified. A success counts only if the account is not locked after that:
        of guesses sent all at once, no more are answered than of guesses one after the other.
        """
        async with self.platform.transaction(read_only=True) as tx:
            account = await store.account(tx, self.keyring, email)
        tried = account if account is not None and may_try(account, self.now()) else None
        right = await self.passwords.verify(password, tried.password_hash if tried else None)
        if tried is None or not right:
            async with self.platform.transaction() as tx:
                await store.count_failure(tx, self.keyring, email, now=self.now())
            raise refused()
        renewed = await self.passwords.hash(password) if self.passwords.outdated(tried.password_hash) else None
        now = self.now().replace(microsecond=0)  # tokens count in seconds
        return self._issue(tried, await self._roles(tried, renewed, now), now)

    async def _roles(self, account: Account, renewed: str | None, now: datetime) -> dict[UUID, int]:
        async with self.platform.transaction() as tx:
            if not await store.count_success(tx, account.user_id, new_hash=renewed, now=now):
                raise refused()
            return await membership_store.roles(tx, account.user_id, now=now)

    def _issue(self, account: Account, roles: dict[UUID, int], now: datetime) -> Issued:
        caller = Caller(
            kind=Kind.USER,
            subject=str(account.user_id),
            name=account.name,
            platform_role=account.platform_role.value,
            roles=roles,
        )
        expire_time = now + TOKEN_LIFETIME
        return Issued(token=self.sign(caller, now, expire_time), expire_time=expire_time, user_id=account.user_id)
