"""Logins."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from callers import Caller, Kind
from dbcommon.database import Database
from dbcommon.private import Keyring
from dbcommon.tenancy import NO_TENANT
from identity.domain.logins import TOKEN_LIFETIME, Issued, may_try, refused
from identity.domain.users import normalise_email
from identity.store import users as store
from identity.usecases.users import Passwords


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The calls of TokensService. `sign` makes the token that says who a caller is."""

    platform: Database
    keyring: Keyring
    passwords: Passwords
    sign: Callable[[Caller, datetime], str]
    now: Callable[[], datetime]

    async def login(self, email: str, password: str) -> Issued:
        """Raises LoginRefused, after the same work whatever the reason, and LoginBusy."""
        async with self.platform.transaction(read_only=True) as tx:
            account = await store.account(tx, self.keyring, normalise_email(email))
        right = await self.passwords.matches(account.password_hash if account else None, password)
        now = self.now()
        async with self.platform.transaction() as tx:
            if account is None or not right or not may_try(account, now):
                await store.count_failure(tx, account.user_id if account else NO_TENANT, now)
                roles = None
            else:
                roles = await store.roles(tx, account.user_id, now) if await store.admit(tx, account.user_id, now) else None
        if account is None or roles is None:
            raise refused()
        caller = Caller(
            kind=Kind.USER,
            subject=str(account.user_id),
            name=account.name,
            platform_role=account.platform_role.value,
            roles=roles,
        )
        return Issued(token=self.sign(caller, now), expire_time=now + TOKEN_LIFETIME, user_id=account.user_id)
