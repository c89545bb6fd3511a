"""Stations."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from dbcommon.constraints import refusing
from dbcommon.database import Database, Transaction
from dbcommon.statements import inserting, updating
from identity.domain.stations import LISTED, State, Station, StationCodeTaken, StationNotFound
from identity.tables import stations
from pages import Page


async def insert_station(tx: Transaction, station: Station) -> None:
    """Raises StationCodeTaken."""
    taken = StationCodeTaken("another station has that code", code=station.code)
    with refusing({"stations_code_key": taken}):
        await tx.execute(inserting(stations, row := _row(station)), row)


async def read_station(app: Database, station_id: UUID) -> Station:
    """Raises StationNotFound."""
    rows = await app.read(f"SELECT {COLUMNS} FROM identity.stations b WHERE b.id = s.tenant LIMIT 1", tenant=station_id)
    return _one(rows, station_id)


async def get_station(tx: Transaction, station_id: UUID, *, lock: bool = False) -> Station:
    """Raises StationNotFound. Locking is for the platform's role."""
    statement = f"SELECT {COLUMNS} FROM identity.stations WHERE id = :id"
    return _one(await tx.execute(f"{statement} FOR NO KEY UPDATE" if lock else statement, {"id": station_id}), station_id)


async def stations_of(db: Database | Transaction, ids: Collection[UUID]) -> dict[UUID, Station]:
    """Those of the stations that there are; crosses stations."""
    rows = await db.look(f"SELECT {COLUMNS} FROM identity.stations WHERE id = ANY(:ids)", {"ids": list(ids)})
    return {row["id"]: _station(row) for row in rows}


async def stations_after(tx: Transaction, station_id: UUID | None, limit: int) -> list[Station]:
    """Stations by ID, after an ID; crosses stations."""
    statement = f"SELECT {COLUMNS} FROM identity.stations WHERE id > :after ORDER BY id LIMIT :limit"
    return [_station(row) for row in await tx.execute(statement, {"after": station_id or UUID(int=0), "limit": limit})]


async def page(
    platform: Database, *, among: Collection[UUID] | None, show_deleted: bool, after: str | None, size: int
) -> Page[Station]:
    """Stations by code, after a code; among these IDs only, where some are given. Crosses stations."""
    where = ["code > :after", *([] if show_deleted else ["state = ANY(:listed)"]), *([] if among is None else ["id = ANY(:among)"])]
    statement = f"SELECT {COLUMNS} FROM identity.stations WHERE {' AND '.join(where)} ORDER BY code LIMIT :limit"
    listed = [state.value for state in LISTED]
    values = {"after": after or "", "listed": listed, "among": list(among or ()), "limit": size + 1}
    found = [_station(row) for row in await platform.look(statement, values)]
    shown = found[:size]
    return Page(rows=shown, next=(shown[-1].code,) if len(found) > size else None)


async def save_state(tx: Transaction, station: Station) -> None:
    """Writes what a transition changes; the row is locked."""
    changed = {"state": station.state.value, **{name: getattr(station, name) for name in _CHANGED}}
    await tx.execute(f"{updating(stations, changed)} WHERE id = :id", {**changed, "id": station.station_id})


_CHANGED = ("version", "update_time", "delete_time")
_SAME = ("code", "name", "display_name", "time_zone", "currency_code", "create_time", *_CHANGED)
"""Columns and fields of one name and one type."""


COLUMNS = ", ".join(("id", "state", *_SAME))


def _one(rows: Sequence[Any], station_id: UUID) -> Station:
    if not rows:
        raise StationNotFound("there is no such station", station_id=station_id)
    return _station(rows[0])


def _row(station: Station) -> dict[str, Any]:
    return {**{name: getattr(station, name) for name in _SAME}, "id": station.station_id, "state": station.state.value}


def _station(row: Any) -> Station:
    return Station(**{name: row[name] for name in _SAME}, station_id=row["id"], state=State(row["state"]))
