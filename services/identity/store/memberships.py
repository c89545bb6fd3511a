"""Memberships."""

from datetime import datetime
from typing import Any
from uuid import UUID

from dbcommon.constraints import refusing
from dbcommon.database import Database, Transaction
from dbcommon.statements import inserting
from identity.domain.memberships import MEMBERSHIPS_MAX, Member, MemberExists, MembershipsLimit, Role
from identity.domain.stations import State, StationState
from identity.domain.users import UserNotFound
from identity.tables import memberships


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
        await tx.execute(inserting(memberships, row), row)


async def get_member(app: Database, station_id: UUID, user_id: UUID) -> Member:
    """Raises UserNotFound where the membership is gone, with its station or its user."""
    body = f"SELECT role, {', '.join(_SAME)} FROM identity.memberships b WHERE b.station_id = s.tenant AND b.user_id = $2 LIMIT 1"
    rows = await app.read(body, user_id, tenant=station_id)
    if not rows:
        raise UserNotFound("the user is no member of the station any more", user_id=user_id)
    return _member(rows[0])


async def remove_of_station(tx: Transaction, station_id: UUID) -> None:
    """All members of a locked station; crosses stations."""
    await tx.execute("DELETE FROM identity.memberships WHERE station_id = :id", {"id": station_id})


async def remove_of_user(tx: Transaction, user_id: UUID) -> None:
    """All memberships of a locked user; crosses stations."""
    await tx.execute("DELETE FROM identity.memberships WHERE user_id = :id", {"id": user_id})


async def roles(tx: Transaction, user_id: UUID, *, now: datetime) -> dict[UUID, int]:
    """What a user is in which station: by memberships that have not expired, in stations that are not deleted. Crosses stations."""
    statement = (
        "SELECT m.station_id, m.role FROM identity.memberships m JOIN identity.stations s ON s.id = m.station_id"
        " WHERE m.user_id = :user AND (m.expire_time IS NULL OR m.expire_time > :now) AND s.state = ANY(:states)"
    )
    rows = await tx.execute(statement, {"user": user_id, "now": now, "states": [State.ACTIVE.value, State.SUSPENDED.value]})
    return {row.station_id: row.role for row in rows}


_SAME = ("station_id", "user_id", "expire_time", "create_time", "version")
"""Columns and fields of one name and one type."""


def _member(row: Any) -> Member:
    return Member(**{name: row[name] for name in _SAME}, role=Role(row["role"]))
