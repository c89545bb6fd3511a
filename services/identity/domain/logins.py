"""Logins: which account may try its password, and what it gets."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from faults import ResourceExhausted, Unauthenticated
from identity.domain.users import PlatformRole, State

FAILURES_MAX = 5
"""Of one email from one address: then that address waits."""
LOCKED = timedelta(minutes=30)
DELAY_FIRST, DELAY_MAX = 0.1, 5.0
"""In seconds. How long an answer is held back, with right and wrong passwords alike, where more failures than that come together."""
DELAYED_MAX = 16
"""Answers that are held back at once."""
TOKEN_LIFETIME = timedelta(minutes=15)


class LoginRefused(Unauthenticated):
    """Unknown email, wrong password, disabled, or too many failures from there; never said which."""

    reason = "LOGIN_REFUSED"


class LoginBusy(ResourceExhausted):
    """Too many passwords are being hashed at once, or too many answers held back."""

    reason = "LOGIN_BUSY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a login needs of a user."""

    user_id: UUID
    name: str
    platform_role: PlatformRole
    state: State
    password_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What is known when somebody tries a password."""

    account: Account | None
    locked: bool
    """Whether their address has failed too often of late."""
    failures: int
    """Of late, with that email, from all addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """An access token."""

    token: str = field(repr=False)
    expire_time: datetime
    user_id: UUID


def may_try(attempt: Attempt) -> bool:
    """Whether the right password would let the user in."""
    return attempt.account is not None and attempt.account.state is State.ACTIVE and not attempt.locked


def delay(failures: int) -> float:
    """For how many seconds an answer is held back after so many failures: who guesses from many places is slowed down.

    Nobody is locked out by what others do from elsewhere: that would be a weapon against whoever has a known email.
    """
    beyond = failures - FAILURES_MAX
    return 0.0 if beyond <= 0 else min(DELAY_MAX, DELAY_FIRST * 2.0 ** min(beyond - 1, 10))


def refused() -> LoginRefused:
    """The one answer to every login that fails."""
    return LoginRefused("the email or the password is wrong, or there were too many failures; after those, wait half an hour")
