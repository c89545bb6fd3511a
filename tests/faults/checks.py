"""What must hold when all is quiet again, as the database says it, across schemas: tests may look, services may not."""

from collections.abc import Collection, Mapping
from uuid import UUID

import asyncpg

from dbcommon.references import Known
from identity.domain.stations import State as StationState
from identity.domain.users import State as UserState
from local.database import SERVICES
from referring import Rule
from rpccommon.registry import registry

THINGS: Mapping[str, tuple[str, Collection[int]]] = {
    "identity.Station": ("identity.stations", [StationState.PURGING, StationState.PURGED]),
    "identity.User": ("identity.users", [UserState.PURGING, UserState.PURGED]),
    "bookings.Booking": ("bookings.bookings", []),
}
"""Where things are, and in which states they are gone."""
KNOWN = (
    ("bookings.known_stations", "identity.stations", StationState.PURGED),
    ("bookings.known_users", "identity.users", UserState.PURGED),
    ("payments.known_stations", "identity.stations", StationState.PURGED),
)
FOLLOWERS = ("bookings", "payments")
OF_A_STATION = {"bookings.Booking"}
"""Types whose things are of one station: that of another is as good as none."""
Found = Mapping[tuple[str, UUID], int]
"""Rows by column, and what they refer to."""


async def dangling(rows: asyncpg.Connection) -> Found:
    """What refers, by RESTRICT, CASCADE or NULLIFY, to a thing that is gone, or was never there."""
    found: dict[tuple[str, UUID], int] = {}
    for column in registry():
        if column.rule is Rule.KEEP:
            continue
        things, gone = THINGS[column.type]
        same = " AND t.station_id = r.station_id" if column.type in OF_A_STATION else ""
        refers = (
            f"SELECT r.{column.name} AS id, count(*) AS count FROM {column.service}.{column.table} r"
            f" LEFT JOIN {things} t ON t.id = r.{column.name}{same}"
            f" WHERE r.{column.name} IS NOT NULL AND (t.id IS NULL OR t.state = ANY ($1)) GROUP BY 1"
        )
        name = f"{column.service}.{column.place}"
        found |= {(name, row["id"]): row["count"] for row in await rows.fetch(refers, gone)}
    return found


async def disagreeing(rows: asyncpg.Connection) -> list[str]:
    """Known rows that are PURGED where the thing is not, or the other way round: all who refer mark it in the end."""
    found = []
    for known, things, purged in KNOWN:
        differ = (
            f"SELECT coalesce(k.id, t.id)::text AS id, k.state AS known, t.state AS state FROM {known} k FULL JOIN {things} t USING (id)"
            f" WHERE (k.state IS NOT DISTINCT FROM {Known.PURGED:d}) <> (t.state IS NOT DISTINCT FROM {purged:d})"
        )
        found += [f"{known} {dict(row)}" for row in await rows.fetch(differ)]
    return found


async def lost(rows: asyncpg.Connection, kept: Mapping[str, Collection[UUID]]) -> Mapping[str, Collection[UUID]]:
    """What was acknowledged and is not there, by table."""
    found: dict[str, Collection[UUID]] = {}
    for table, ids in kept.items():
        gone = await rows.fetch(f"SELECT unnest($1::uuid[]) AS id EXCEPT SELECT id FROM {table}", list(ids))
        found |= {table: [row["id"] for row in gone]} if gone else {}
    return found


async def not_purged(rows: asyncpg.Connection, purged: Mapping[str, Collection[UUID]]) -> list[UUID]:
    """What was answered to be beyond return, and is not PURGED in the end."""
    ends = {"identity.Station": StationState.PURGED, "identity.User": UserState.PURGED}
    found = []
    for type, ids in purged.items():
        statement = f"SELECT id FROM {THINGS[type][0]} WHERE id = ANY ($1) AND state <> $2"
        found += [row["id"] for row in await rows.fetch(statement, list(ids), ends[type])]
    return found


async def unsettled(rows: asyncpg.Connection) -> list[str]:
    """What is still under way: events to publish, to hear, or set aside; rows to close, or to mark; purges beyond return."""
    found = [f"outbox of {service}" for service in SERVICES if await rows.fetchval(f"SELECT EXISTS (SELECT FROM {service}.outbox)")]
    for service in FOLLOWERS:
        for state in await rows.fetch(f"SELECT owner, epoch, position FROM {service}.feed_state"):
            head = await rows.fetchrow(f"SELECT epoch, position FROM {state['owner']}.feed_head")
            if (state["epoch"], state["position"]) != tuple(head or ()):
                found.append(f"{service} behind {state['owner']}")
        if await rows.fetchval(f"SELECT EXISTS (SELECT FROM {service}.parked_events)"):
            found.append(f"events aside in {service}")
    for known, _, _ in KNOWN:
        due = f"state = {Known.CLOSING:d} OR gone AND state = {Known.CLOSED:d}"
        if await rows.fetchval(f"SELECT EXISTS (SELECT FROM {known} WHERE {due})"):
            found.append(f"closing, or CASCADE and NULLIFY, in {known}")
    if await rows.fetchval("SELECT EXISTS (SELECT FROM identity.purges WHERE purging_time IS NOT NULL)"):
        found.append("purges")
    return found
