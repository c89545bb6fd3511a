"""Users: the people who log in."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from faults import AlreadyExists, EtagStale, FailedPrecondition, NotFound


class State(IntEnum):
    """As teppan.identity.v1.UserState numbers them."""

    ACTIVE = 1
    DISABLED = 2
    PURGED = 3
    PURGING = 4


BEFORE = {State.DISABLED: State.ACTIVE, State.ACTIVE: State.DISABLED}
"""What a user must be to be disabled, or enabled: the only place that knows what may follow what."""
PURGEABLE = frozenset({State.DISABLED, State.PURGING})
BEYOND = frozenset({State.PURGING, State.PURGED})
"""From here nothing comes back."""


class PlatformRole(IntEnum):
    """As teppan.common.v1.PlatformRole numbers them."""

    NONE = 0
    SUPPORT = 1
    ADMIN = 2


class UserNotFound(NotFound):
    """No such user."""

    reason = "USER_NOT_FOUND"


class EmailTaken(AlreadyExists):
    """Another user has that email."""

    reason = "EMAIL_TAKEN"


class UserState(FailedPrecondition):
    """The user's state does not allow it."""

    reason = "USER_STATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """What is asked for; the email is normalised."""

    name: str
    email: str = field(repr=False)
    password: str = field(repr=False)
    platform_role: PlatformRole


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person; `email` is empty where it is not to be shown. The hash of the password never leaves `store` but to be verified."""

    user_id: UUID
    name: str
    email: str = field(repr=False)
    platform_role: PlatformRole
    state: State
    version: int
    create_time: datetime
    update_time: datetime


def enrol(wanted: NewUser, *, user_id: UUID, now: datetime) -> User:
    """A user who can log in at once."""
    return User(
        user_id=user_id,
        name=wanted.name,
        email=wanted.email,
        platform_role=wanted.platform_role,
        state=State.ACTIVE,
        version=1,
        create_time=now,
        update_time=now,
    )


def changed(user: User, wanted: State, *, etag: str, now: datetime) -> User:
    """The user, in that state. Raises UserState, EtagStale; an empty etag matches any version."""
    _expect_etag(user, etag)
    if user.state is not BEFORE[wanted]:
        raise _unfit(user, wanted)
    return replace(user, state=wanted, version=user.version + 1, update_time=now)


def expect_purgeable(user: User, *, etag: str) -> None:
    """Raises UserState, EtagStale; an empty etag matches any version."""
    _expect_etag(user, etag)
    if user.state not in PURGEABLE:
        raise _unfit(user, State.PURGED)


def expect_beyond(user: User) -> None:
    """Raises UserState where a purge that began has not come past the point of no return."""
    if user.state not in BEYOND:
        raise _unfit(user, State.PURGED)


def advanced(user: User, state: State, *, now: datetime) -> User:
    """The user as a purge announces them: DISABLED, or PURGING."""
    return replace(user, state=state, version=user.version + 1, update_time=now)


def purged(user: User, *, now: datetime) -> User:
    """What is left of a user at the end of their purge. The version stays: nobody has to hear of it."""
    return replace(user, name="", email="", platform_role=PlatformRole.NONE, state=State.PURGED, update_time=now)


def _expect_etag(user: User, etag: str) -> None:
    if etag and etag != str(user.version):
        raise EtagStale("the user changed since the etag was read", etag=str(user.version))


def _unfit(user: User, wanted: State) -> UserState:
    message = f"the user is {user.state.name}, which does not allow it"
    return UserState(message, state=user.state.name, wanted=wanted.name)


def normalise_email(text: str) -> str:
    """As emails are compared: without surrounding space, in lower case."""
    return text.strip().lower()
