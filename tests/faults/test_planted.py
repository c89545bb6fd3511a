"""With validation switched off, what refers to nothing is found, each row of it, and nothing else."""

import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import time
from uuid import UUID, uuid4

import asyncpg
import pytest
from demo.calls import Backend, new_id
from demo.scene import Scene, booking, day, week
from teppan.bookings.v1 import customers_pb2
from teppan.identity.v1 import stations_pb2, users_pb2

from local.stack import Stack
from referring import Column, Rule
from rpccommon.registry import registry
from tests.deployed import IN_CONTAINERS, Deployment, eventually
from tests.faults import checks
from tests.faults.audited import audited
from tests.traffic import deposit, new_station, own_station

pytestmark = pytest.mark.skipif(IN_CONTAINERS, reason="of the embedded stack: rows are planted in its database")

HELD = [column for column in registry() if column.rule is not Rule.KEEP]
KEPT = [column for column in registry() if column.rule is Rule.KEEP]
MANY = 3
"""Rows planted for a thing, where more than one can refer to it."""
ONE_EACH = {"schedules", "slots"}
"""Their key is the reference itself; a copy of one row has no place beside another."""


class Planting:
    """Copies rows that are right, and has the copies refer to something else; no trigger and no key looks."""

    def __init__(self, rows: asyncpg.Connection) -> None:
        self._rows = rows
        self._planted: list[tuple[Column, UUID]] = []

    async def plant(self, column: Column, id: UUID) -> int:
        """Rows that refer to a thing, one or many of them; how many."""
        count = 1 if column.table in ONE_EACH else MANY
        table = f"{column.service}.{column.table}"
        copy = (
            f"INSERT INTO {table} SELECT (jsonb_populate_record(NULL::{table}, to_jsonb(r) || $1::jsonb)).*"
            f" FROM (SELECT * FROM {table} WHERE {column.name} IS NOT NULL LIMIT 1) r"
        )
        self._planted.append((column, id))
        for _ in range(count):
            await self._rows.execute(copy, json.dumps({**_unlike(column.table), column.name: str(id)}))
        return count

    async def uproot(self) -> None:
        """Removes it all again."""
        for column, id in self._planted:
            await self._rows.execute(f"DELETE FROM {column.service}.{column.table} WHERE {column.name} = $1", id)


def _unlike(table: str) -> Mapping[str, str]:
    """What a copy must not share with its original."""
    if table in ONE_EACH:
        return {}
    return {
        "id": str(uuid4()),
        **({"email_index": f"\\x{secrets.token_hex(16)}"} if table == "customers" else {}),
        **({"reference": secrets.token_hex(6)} if table == "bookings" else {}),
    }


@pytest.fixture
async def planting(embedded: Stack) -> AsyncIterator[Planting]:
    """With a session of its own, in which no trigger fires and no key is looked at."""
    connection = await asyncpg.connect(embedded.server.url(embedded.database))
    await connection.execute("SET session_replication_role = replica")
    made = Planting(connection)
    yield made
    await made.uproot()
    await connection.close()


@pytest.fixture
async def gone(backend: Backend, cast: Scene) -> Mapping[str, UUID]:
    """Things that are PURGED, by type; and a row of every column that refers, to copy."""
    scene = await own_station(backend, cast, "Planted")
    station, token = scene.main.station_id, scene.admin
    made = (await backend.call("bookings.CreateBooking", booking(scene.main, day(30), time(12), 0), token)).booking
    await backend.call("payments.CreatePayment", deposit(made), token)
    user, leaving = await new_user(backend, token), await new_user(backend, token)
    for each in (user, leaving):
        guest = customers_pb2.CreateCustomerRequest(
            request_id=new_id(), station_id=station, name="Guest", email=f"{each}@example.com", user_id=each
        )
        await backend.call("customers.CreateCustomer", guest, token)
    await backend.call("users.DisableUser", users_pb2.DisableUserRequest(request_id=new_id(), user_id=leaving), token)
    purge = users_pb2.PurgeUserRequest(request_id=new_id(), user_id=leaving)

    async def purged() -> bool:
        return bool((await backend.call("users.PurgeUser", purge, token)).user.state == users_pb2.USER_STATE_PURGED)

    await eventually(purged)
    return {"identity.Station": UUID(await purged_station(backend, token)), "identity.User": UUID(leaving)}


async def new_user(backend: Backend, token: str) -> str:
    request = users_pb2.CreateUserRequest(
        request_id=new_id(), name="Guest", email=f"{uuid4().hex}@example.com", password=secrets.token_urlsafe(12)
    )
    return str((await backend.call("users.CreateUser", request, token)).user.user_id)


async def purged_station(backend: Backend, token: str) -> str:
    """A station that bookings has known, and that is PURGED."""
    station = await new_station(backend, token, "Gone")
    await backend.call("slots.UpdateSchedule", week(station), token)
    await backend.call("stations.DeleteStation", stations_pb2.DeleteStationRequest(request_id=new_id(), station_id=station), token)
    purge = stations_pb2.PurgeStationRequest(request_id=new_id(), station_id=station)

    async def purged() -> bool:
        answer = await backend.call("stations.PurgeStation", purge, token)
        return bool(answer.station.state == stations_pb2.STATION_STATE_PURGED)

    await eventually(purged)
    return station


def stations(planted: Iterable[tuple[str, UUID]]) -> list[UUID]:
    """What the planted payments name as their station."""
    return [id for column, id in planted if column == "payments.payments.station_id"]


async def test_rows_planted_against_every_rule_are_found_exactly(
    running: Deployment, rows: asyncpg.Connection, planting: Planting, gone: Mapping[str, UUID], tell: Callable[[str], None]
) -> None:
    assert not await checks.dangling(rows)
    wanted: dict[tuple[str, UUID], int] = {}
    for column in HELD:
        for id in (uuid4(), gone.get(column.type)):
            if id is not None:
                wanted[f"{column.service}.{column.place}", id] = await planting.plant(column, id)
    astray = await rows.fetchval("SELECT DISTINCT booking_id FROM payments.payments WHERE station_id = ANY ($1)", stations(wanted))
    wanted["payments.payments.booking_id", astray] = 2 * MANY  # of the payments planted elsewhere: their booking is where it was
    for column in KEPT:
        await planting.plant(column, uuid4())
    assert await checks.dangling(rows) == wanted
    assert await audited(running.described) == wanted
    assert {column.rule for column in HELD} == set(Rule) - {Rule.KEEP}
    tell(f"planted: {sum(wanted.values())} references to {len(wanted)} things by {len(HELD)} columns, all found")
    await planting.uproot()
    assert not await checks.dangling(rows)
    assert not await audited(running.described)


async def test_without_its_guard_a_service_writes_what_dangles(rows: asyncpg.Connection, backend: Backend, cast: Scene) -> None:
    """The guard alone stands in the way: what runs against it in the chaos would be seen there."""
    station = await purged_station(backend, cast.admin)
    wanted = customers_pb2.CreateCustomerRequest(request_id=new_id(), station_id=station, name="Guest", email="guest@example.com")
    guard = "TRIGGER customers_station_id_guard"
    await rows.execute(f"ALTER TABLE bookings.customers DISABLE {guard}")
    try:
        await backend.call("customers.CreateCustomer", wanted, cast.admin)
        assert await checks.dangling(rows) == {("bookings.customers.station_id", UUID(station)): 1}
    finally:
        await rows.execute(f"ALTER TABLE bookings.customers ENABLE {guard}")
        await rows.execute("DELETE FROM bookings.customers WHERE station_id = $1", UUID(station))
