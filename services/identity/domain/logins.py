"""Logins: which account may try its password, and what it gets."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from faults import ResourceExhausted, Unauthenticated
from identity.domain.users import PlatformRole, State

FAILURES_MAX = 5
LOCKED = timedelta(minutes=30)
TOKEN_LIFETIME = timedelta(minutes=15)


class LoginRefused(Unauthenticated):
    """Unknown email, wrong password, disabled or locked out; never said which."""

    reason = "LOGIN_REFUSED"


class LoginBusy(ResourceExhausted):
    """Too many passwords are being hashed at once."""

    reason = "LOGIN_BUSY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a login needs of a user."""

    user_id: UUID
    name: str
    platform_role: PlatformRole
    state: State
    password_hash: str = field(repr=False)
    locked_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """An access token."""

    token: str = field(repr=False)
    expire_time: datetime
    user_id: UUID


def may_try(account: Account, now: datetime) -> bool:
    """Whether the right password would let the user in."""
    return account.state is State.ACTIVE and (account.locked_until is None or account.locked_until <= now)


def refused() -> LoginRefused:
    """The one answer to every login that fails."""
    return LoginRefused("the email or the password is wrong, or the account is locked for a while")
