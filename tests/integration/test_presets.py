"""What a server, a database or a role presets: it is overruled, does not matter, or is refused at the start by a sentence."""

from uuid import UUID

import asyncpg
import pytest

from bookings.tables import SCHEMA
from dbcommon.database import Database
from dbcommon.tenancy import Unsafe, refuse_unsafe
from ids import new_id
from local.database import Server

HARMLESS = [
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_isolation", "repeatable read"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_deferrable", "on"),
    ("lock_timeout", "1ms"),
    ("search_path", "nowhere"),
    ("synchronous_commit", "local"),
    ("statement_timeout", "20s"),
    ("datestyle", "German, DMY"),
    ("timezone", "Asia/Kathmandu"),
    ("bytea_output", "escape"),
    ("intervalstyle", "iso_8601"),
    ("plan_cache_mode", "force_generic_plan"),
    ("standard_conforming_strings", "on"),
]
REFUSED = [
    ("row_security", "off", "row_security is off for bookings_app"),
    ("synchronous_commit", "off", "what is acknowledged could be lost"),
    ("statement_timeout", "50ms", "statement_timeout is 50 ms for bookings_app"),
    ("idle_in_transaction_session_timeout", "2s", "idle_in_transaction_session_timeout is 2000 ms"),
]
REQUEST = (
    "INSERT INTO bookings.requests (station_id, caller, method, request_id, fingerprint) VALUES (:station, 'user:1', 'X', :id, '')"
)
BODY = "SELECT r.request_id FROM bookings.requests r WHERE r.station_id = s.tenant ORDER BY r.request_id LIMIT 10"


async def preset(outside: asyncpg.Connection, database: str, name: str, value: str) -> None:
    await outside.execute(f"ALTER ROLE bookings_app IN DATABASE \"{database}\" SET {name} = '{value}'")


@pytest.mark.parametrize(("name", "value"), HARMLESS)
async def test_it_changes_nothing(server: Server, database: str, outside: asyncpg.Connection, name: str, value: str) -> None:
    await preset(outside, database, name, value)
    app, station, id = Database(server.url(database, "bookings_app"), pool_size=1), new_id(), new_id()
    try:
        async with app.transaction(read_only=True) as tx:
            await refuse_unsafe(tx, "bookings", SCHEMA.tenant_tables)
        async with app.transaction(tenant=station) as tx:
            assert (await tx.execute("SHOW transaction_isolation")).value() == "read committed"
            assert (await tx.execute("SHOW lock_timeout")).value() == "2s"
            await tx.execute(REQUEST, {"station": station, "id": id})
        assert [row["request_id"] for row in await app.read(BODY, tenant=station)] == [id]
        assert await app.read(BODY, tenant=UUID(int=1)) == []
    finally:
        await app.close()


@pytest.mark.parametrize(("name", "value", "said"), REFUSED)
async def test_it_is_refused_at_the_start(
    server: Server, database: str, outside: asyncpg.Connection, name: str, value: str, said: str
) -> None:
    await preset(outside, database, name, value)
    app = Database(server.url(database, "bookings_app"), pool_size=1)
    try:
        with pytest.raises(Unsafe, match=said):
            async with app.transaction(read_only=True) as tx:
                await refuse_unsafe(tx, "bookings", SCHEMA.tenant_tables)
    finally:
        await app.close()
