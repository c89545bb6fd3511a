"""The one-statement read sees its tenant's rows, all of them and no others, however the planner is set; and so do its two other forms."""

import itertools
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from bookings.store.bookings import COLUMNS, PRICED
from dbcommon.tenancy import as_records, one_statement, with_literals
from ids import new_id
from local.database import Server
from tests.conftest import new_database

ROWS = 60
NOW = datetime(2026, 11, 30, tzinfo=UTC)
SETTINGS = [
    {},
    *(
        {f"enable_{way}": "off"}
        for way in ("seqscan", "indexscan", "indexonlyscan", "bitmapscan", "nestloop", "material", "memoize", "sort")
    ),
    {"enable_seqscan": "off", "enable_bitmapscan": "off", "enable_nestloop": "off"},
    {"enable_nestloop": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"},
    {"plan_cache_mode": "force_generic_plan"},
    {"plan_cache_mode": "force_custom_plan"},
    {"from_collapse_limit": "1", "join_collapse_limit": "1"},
    {"geqo_threshold": "2", "geqo": "on"},
    {"jit": "on", "jit_above_cost": "0", "jit_inline_above_cost": "0"},
    {
        "max_parallel_workers_per_gather": "4",
        "parallel_setup_cost": "0",
        "parallel_tuple_cost": "0",
        "min_parallel_table_scan_size": "0",
    },
    {"constraint_exclusion": "on"},
    {"cursor_tuple_fraction": "0.01"},
    {"random_page_cost": "1000000", "cpu_tuple_cost": "1000000"},
]
OF = "FROM bookings.bookings b WHERE b.station_id = s.tenant"
ORDERED = "ORDER BY start_time, id LIMIT 1000"
ARM = f"(SELECT b.id, b.station_id, b.start_time {OF} AND b.state = ${{}} {ORDERED})"
BODIES: dict[str, tuple[str, Sequence[object]]] = {
    "a list": (f"SELECT b.id, b.station_id {OF} {ORDERED}", ()),
    "a list from a time on": (f"SELECT b.id, b.station_id {OF} AND b.start_time >= $2 {ORDERED}", (NOW - timedelta(days=1),)),
    "a list of states": (f"SELECT * FROM ({ARM.format(2)} UNION ALL {ARM.format(3)}) m {ORDERED}", (2, 4)),
    "with lines": (f"SELECT {COLUMNS}, {PRICED} {OF} LIMIT 1000", ()),
}
STATIONS = [UUID(int=n) for n in (1, 2, 3)]


@pytest.fixture(scope="module")
async def filled(server: Server, template: str) -> AsyncIterator[str]:
    """A database in which three stations have as many bookings each."""
    name = new_database()
    await server.create(name, template)
    outside = await asyncpg.connect(server.url(name))
    await outside.execute("SET session_replication_role = replica")
    for station, number in itertools.product(STATIONS, range(ROWS)):
        booking = new_id()
        await outside.execute(
            "INSERT INTO bookings.bookings (station_id, id, reference, customer_id, state, slot_date, slot_start, start_time, end_time,"
            " time_zone, adults, children, infants, currency_code, total_minor, deposit_minor, policy_version, requests,"
            " deposit_deadline_time, created_by_name, version, create_time, update_time) VALUES ($1, $2, $2::uuid::text, $2, $3, $4::date,"
            " '12:00', $4, $4, 'UTC', 1, 0, 0, 'EUR', 100, 0, 1, '', $4, 'Ann', 1, $4, $4)",
            station, booking, 2 if number % 2 else 4, NOW + timedelta(hours=number),
        )  # fmt: skip
        await outside.execute(
            "INSERT INTO bookings.price_lines VALUES ($1, $2, 0, $3, 1, 100, 100)", station, booking, str(station)
        )
    await outside.execute("ANALYZE bookings.bookings")
    await outside.close()
    yield name
    await server.drop(name)


@pytest.fixture
async def app(server: Server, filled: str) -> AsyncIterator[asyncpg.Connection]:
    """A session of the application's role."""
    connection = await asyncpg.connect(server.url(filled, "bookings_app"))
    yield connection
    await connection.close()


@pytest.mark.parametrize("body", BODIES, ids=str)
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(settings) or "as it is")
async def test_every_plan_sees_the_tenants_rows_and_no_others(app: asyncpg.Connection, settings: dict[str, str], body: str) -> None:
    for name, value in settings.items():
        await app.execute(f"SET {name} = '{value}'")
    statement, parameters = BODIES[body]
    for round_, station in enumerate([UUID(int=99), *STATIONS] * 3):  # often enough for a generic plan
        there = 0 if station == UUID(int=99) else ROWS
        rows = await app.fetch(one_statement(statement), station, *parameters)
        assert (len(rows), {row["station_id"] for row in rows}) == (there, {station} if there else set()), round_
        if "line_kinds" in (rows[0] if rows else {}):
            assert {kind for row in rows for kind in row["line_kinds"]} == {str(station)}, (
                "the lines are read by a policy of their own"
            )
        others = [other.bytes for other in STATIONS if other != station]
        records: bytes = await app.fetchval(as_records(statement), station, *parameters) or b""
        assert records.count(station.bytes) >= there
        assert not any(other in records for other in others)
        chunks: list[bytes] = []
        query = with_literals(one_statement(statement), (station, *parameters))  # type: ignore[arg-type]  # times and numbers
        await app.copy_from_query(query, output=_into(chunks), format="binary")
        assert b"".join(chunks).count(station.bytes) >= there
        assert not any(other in chunk for other in others for chunk in chunks)
    assert await app.fetch("SELECT id FROM bookings.bookings") == [], "nothing outlives the statement"


def _into(chunks: list[bytes]) -> object:
    async def keep(chunk: bytes) -> None:
        chunks.append(bytes(chunk))

    return keep
