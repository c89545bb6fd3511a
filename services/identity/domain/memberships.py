"""Memberships: who holds which role in which station."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from faults import AlreadyExists, FailedPrecondition, InvalidArgument

MEMBERSHIPS_MAX = 20
"""Of one user: so many roles an access token carries. The trigger `memberships_per_user` counts."""


class Role(IntEnum):
    """As teppan.common.v1.Role numbers them; the lower are included in the higher."""

    VIEWER = 1
    AGENT = 2
    MANAGER = 3
    ADMIN = 4


class MemberExists(AlreadyExists):
    """The user is a member of the station already."""

    reason = "MEMBER_EXISTS"


class MembershipsLimit(FailedPrecondition):
    """The user has as many memberships as an access token carries."""

    reason = "MEMBERSHIPS_LIMIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMember:
    """What is asked for; no `expire_time`: it does not expire."""

    station_id: UUID
    user_id: UUID
    role: Role
    expire_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A membership."""

    station_id: UUID
    user_id: UUID
    role: Role
    expire_time: datetime | None
    create_time: datetime
    version: int


def admit(wanted: NewMember, *, now: datetime) -> Member:
    """A membership from now on. Raises InvalidArgument where it would have expired already."""
    if wanted.expire_time is not None and wanted.expire_time <= now:
        raise InvalidArgument({"expire_time": "it must be in the future"})
    return Member(
        station_id=wanted.station_id,
        user_id=wanted.user_id,
        role=wanted.role,
        expire_time=wanted.expire_time,
        create_time=now,
        version=1,
    )
