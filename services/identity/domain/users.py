"""Users: the people who log in."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from faults import AlreadyExists, NotFound


class State(IntEnum):
    """As teppan.identity.v1.UserState numbers them."""

    ACTIVE = 1
    DISABLED = 2
    PURGED = 3


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


def normalise_email(text: str) -> str:
    """As emails are compared: without surrounding space, in lower case."""
    return text.strip().lower()
