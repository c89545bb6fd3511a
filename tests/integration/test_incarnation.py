"""A life of a database ends where a table of it is made anew, also for sessions that have asked before."""

from uuid import uuid4

import asyncpg
import pytest

from dbcommon.references import Known
from local.database import Server
from tests.readiness import caught_up

ASKED = 12
"""By then its plan is a generic one, and kept."""
ANEW = """BEGIN;
CREATE TABLE bookings.anew (LIKE bookings.{0} INCLUDING ALL); INSERT INTO bookings.anew SELECT * FROM bookings.{0};
DROP TABLE bookings.{0} CASCADE; ALTER TABLE bookings.anew RENAME TO {0}; COMMIT"""


@pytest.mark.parametrize("table", ["known_users", "feed_head"])
async def test_a_session_that_has_written_before_refers_to_nothing_after_that(
    server: Server, database: str, outside: asyncpg.Connection, table: str
) -> None:
    station, insert = uuid4(), "INSERT INTO public.referring VALUES ($1)"
    await outside.execute(caught_up("bookings", "identity", station))
    await outside.execute(
        f"INSERT INTO bookings.known_stations (id, epoch, version, state) VALUES ('{station}', '{station}', 1, {Known.OPEN:d});"
        " CREATE TABLE public.referring (station_id uuid);"
        " CREATE TRIGGER guard BEFORE INSERT ON public.referring FOR EACH ROW EXECUTE FUNCTION bookings.slots_station_id_guard()"
    )
    before = await asyncpg.connect(server.url(database))
    for _ in range(ASKED):
        await before.execute(insert, station)
    await outside.execute(ANEW.format(table))
    with pytest.raises(asyncpg.CheckViolationError, match="not caught up"):
        await before.execute(insert, station)
    await before.close()
