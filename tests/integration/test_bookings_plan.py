"""Every list of bookings is read from a range of its own index, without a sort, whatever the planner knows of its values."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from bookings.store.listing import ListQuery, keyset
from dbcommon.tenancy import one_statement
from tests.integration.stage import Teppan

MANY = """INSERT INTO bookings.bookings (station_id, id, reference, customer_id, state, slot_date, slot_start, start_time, end_time,
  time_zone, adults, children, infants, currency_code, total_minor, deposit_minor, policy_version, requests,
  deposit_deadline_time, created_by_name, version, create_time, update_time)
SELECT station_id, gen_random_uuid(), 'TP-' || gen_random_uuid(), customer_id, 6 + 3 * (n % 2), slot_date, slot_start,
  start_time + make_interval(mins => n), end_time + make_interval(mins => n), time_zone, adults, children, infants, currency_code,
  0, 0, policy_version, '', deposit_deadline_time, 'Ann', 1, create_time, update_time
  FROM (SELECT * FROM bookings.bookings WHERE station_id = $1 LIMIT 1) b, generate_series(1, 2500) n"""


SMALL_STATIONS = 40


@pytest.fixture(scope="module")
async def crowded(teppan: Teppan) -> str:
    """The oldest station, which got its thousands of bookings last, among many with one.

    On average, says the planner, a station has fewer than a page, and not side by side.
    """
    stations = [await teppan.station() for _ in range(SMALL_STATIONS)]
    for station in stations:
        await teppan.booking(station, await teppan.customer(station))
    owner = await asyncpg.connect(teppan.server.url(teppan.database, "bookings_owner"))
    await owner.execute(MANY, UUID(stations[0]))
    await owner.execute("ANALYZE bookings.bookings")
    await owner.close()
    return stations[0]


@pytest.fixture
async def app(teppan: Teppan) -> AsyncIterator[asyncpg.Connection]:
    """A connection as those of the service that read lists."""
    connection = await asyncpg.connect(teppan.server.url(teppan.database, "bookings_app"))
    yield connection
    await connection.close()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("states", [[], [2], [2, 6, 9]])
@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("ranged", [False, True])
async def test_every_list_is_a_range_of_its_own_index_without_a_sort(
    app: asyncpg.Connection, crowded: str, *, descending: bool, states: list[int], resumed: bool, ranged: bool
) -> None:
    now = datetime.now(UTC) + timedelta(days=11)
    query = ListQuery(
        station_id=UUID(crowded), start_from=now - timedelta(days=9) if ranged else None,
        start_before=now + timedelta(days=9) if ranged else None, states=states, descending=descending, page_size=100,
        after=(now, UUID(int=0)) if resumed else None,
    )  # fmt: skip
    body, parameters = keyset(query).statement()
    for mode in ("force_custom_plan", "force_generic_plan"):
        await app.execute(f"SET plan_cache_mode = {mode}")
        rows = await app.fetch(f"EXPLAIN {one_statement(body)}", UUID(crowded), *parameters)
        plan = "\n".join(row[0] for row in rows)
        column = "station_id_state_start_time_id" if states else "station_id_start_time_id"
        scan = f"Index Scan {'Backward ' if descending else ''}using bookings_{column}_idx"
        assert plan.count(scan) == max(1, len(states)), plan
        assert "Sort  (cost" not in plan, plan  # a Merge Append has a sort key and does not sort
        assert "Seq Scan" not in plan, plan
