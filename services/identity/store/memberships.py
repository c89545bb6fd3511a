"""Memberships."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, or_, select

from dbcommon.constraints import refusing
from dbcommon.database import Transaction
from identity.domain.memberships import MEMBERSHIPS_MAX, Member, MemberExists, MembershipsLimit, Role
from identity.domain.stations import State, StationState
from identity.domain.users import UserNotFound
from identity.tables import memberships, stations


async def insert_member(tx: Transaction, member: Member) -> None:
    """Raises MemberExists, UserNotFound, MembershipsLimit: the database decides all of them."""
    limit = f"a user has at most {MEMBERSHIPS_MAX} memberships"
    faults = {
        "memberships_pkey": MemberExists("the user is a member of the station already", user_id=member.user_id),
        "memberships_user_id_fkey": UserNotFound("there is no such user", user_id=member.user_id),
        "memberships_per_user": MembershipsLimit(limit, limit=MEMBERSHIPS_MAX),
        "memberships_user_kept": UserNotFound("there is no such user any more", user_id=member.user_id),
        "memberships_station_kept": StationState("the station is being purged", state="PURGING", wanted="ACTIVE"),
    }
    row = {**{name: getattr(member, name) for name in _SAME}, "role": member.role.value}
    with refusing(faults):
        await tx.execute(insert(memberships).values(row))


async def get_member(tx: Transaction, station_id: UUID, user_id: UUID) -> Member:
    """Raises UserNotFound where the membership is gone, with its station or its user."""
    where = (memberships.c.station_id == station_id, memberships.c.user_id == user_id)
    row = (await tx.execute(select(memberships).where(*where))).mappings().first()
    if row is None:
        raise UserNotFound("the user is no member of the station any more", user_id=user_id)
    return _member(row)


async def remove_of_station(tx: Transaction, station_id: UUID) -> None:
    """All members of a locked station; crosses stations."""
    await tx.execute(delete(memberships).where(memberships.c.station_id == station_id))


async def remove_of_user(tx: Transaction, user_id: UUID) -> None:
    """All memberships of a locked user; crosses stations."""
    await tx.execute(delete(memberships).where(memberships.c.user_id == user_id))


async def roles(tx: Transaction, user_id: UUID, *, now: datetime) -> dict[UUID, int]:
    """What a user is in which station: by memberships that have not expired, in stations that are not deleted. Crosses stations."""
    statement = (
        select(memberships.c.station_id, memberships.c.role)
        .join(stations, stations.c.id == memberships.c.station_id)
        .where(
            memberships.c.user_id == user_id,
            or_(memberships.c.expire_time.is_(None), memberships.c.expire_time > now),
            stations.c.state.in_([State.ACTIVE.value, State.SUSPENDED.value]),
        )
    )
    return {row.station_id: row.role for row in await tx.execute(statement)}


_SAME = ("station_id", "user_id", "expire_time", "create_time", "version")
"""Columns and fields of one name and one type."""


def _member(row: Any) -> Member:
    return Member(**{name: row[name] for name in _SAME}, role=Role(row["role"]))
