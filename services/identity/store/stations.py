"""Stations."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, update

from dbcommon.constraints import refusing
from dbcommon.database import Transaction
from identity.domain.stations import LISTED, State, Station, StationCodeTaken, StationNotFound
from identity.tables import stations
from pages import Page


async def insert_station(tx: Transaction, station: Station) -> None:
    """Raises StationCodeTaken."""
    taken = StationCodeTaken("another station has that code", code=station.code)
    with refusing({"stations_code_key": taken}):
        await tx.execute(insert(stations).values(_row(station)))


async def get_station(tx: Transaction, station_id: UUID, *, lock: bool = False) -> Station:
    """Raises StationNotFound. Locking is for the platform's role."""
    statement = select(stations).where(stations.c.id == station_id)
    row = (await tx.execute(statement.with_for_update(key_share=True) if lock else statement)).mappings().first()
    if row is None:
        raise StationNotFound("there is no such station", station_id=station_id)
    return _station(row)


async def stations_of(tx: Transaction, ids: Collection[UUID]) -> dict[UUID, Station]:
    """Those of the stations that there are; crosses stations."""
    rows = await tx.execute(select(stations).where(stations.c.id.in_(ids)))
    return {row["id"]: _station(row) for row in rows.mappings()}


async def stations_after(tx: Transaction, station_id: UUID | None, limit: int) -> list[Station]:
    """Stations by ID, after an ID; crosses stations."""
    statement = select(stations).order_by(stations.c.id).limit(limit)
    if station_id is not None:
        statement = statement.where(stations.c.id > station_id)
    return [_station(row) for row in (await tx.execute(statement)).mappings()]


async def page(
    tx: Transaction, *, among: Collection[UUID] | None, show_deleted: bool, after: str | None, size: int
) -> Page[Station]:
    """Stations by code, after a code; among these IDs only, where some are given. Crosses stations."""
    statement = select(stations).order_by(stations.c.code).limit(size + 1)
    if not show_deleted:
        statement = statement.where(stations.c.state.in_([state.value for state in LISTED]))
    if among is not None:
        statement = statement.where(stations.c.id.in_(among))
    if after is not None:
        statement = statement.where(stations.c.code > after)
    found: Sequence[Station] = [_station(row) for row in (await tx.execute(statement)).mappings()]
    shown = found[:size]
    return Page(rows=shown, next=(shown[-1].code,) if len(found) > size else None)


async def save_state(tx: Transaction, station: Station) -> None:
    """Writes what a transition changes; the row is locked."""
    changed = {"state": station.state.value, **{name: getattr(station, name) for name in _CHANGED}}
    await tx.execute(update(stations).where(stations.c.id == station.station_id).values(changed))


_CHANGED = ("version", "update_time", "delete_time")
_SAME = ("code", "name", "display_name", "time_zone", "currency_code", "create_time", *_CHANGED)
"""Columns and fields of one name and one type."""


def _row(station: Station) -> dict[str, Any]:
    return {**{name: getattr(station, name) for name in _SAME}, "id": station.station_id, "state": station.state.value}


def _station(row: Any) -> Station:
    return Station(**{name: row[name] for name in _SAME}, station_id=row["id"], state=State(row["state"]))
