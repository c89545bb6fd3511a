"""Revisions that could lose something, or keep writers out, do neither."""

import asyncio
import os
import subprocess
import sys
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from dbcommon import migrate
from local.database import ROOT, Server

BOOKINGS = ROOT / "services" / "bookings" / "migrations"
INDEX = "SELECT indexdef FROM pg_indexes JOIN pg_index ON indexrelid = to_regclass($1) AND indisvalid WHERE indexname = 'customers_user_id_idx'"


async def up(server: Server, database: str) -> str:
    return await migrate.upgrade(server.url(database, "bookings_owner"), "bookings", BOOKINGS)


async def down(server: Server, database: str) -> str:
    return await migrate.downgrade(server.url(database, "bookings_owner"), "bookings", BOOKINGS, "0002")


async def test_going_back_refuses_while_rows_of_what_is_gone_are_due(
    server: Server, database: str, outside: asyncpg.Connection
) -> None:
    due = "INSERT INTO bookings.known_users (id, epoch, version, state, gone) VALUES ($1, $1, 1, 3, true)"
    await outside.execute(due, uuid4())
    with pytest.raises(DBAPIError, match="let the service finish first"):
        await down(server, database)
    await outside.execute("UPDATE bookings.known_users SET state = 4")
    assert await down(server, database) == "0002"


async def test_code_that_was_rolled_back_leaves_a_newer_schema_as_it_is(
    server: Server, database: str, outside: asyncpg.Connection
) -> None:
    await outside.execute("UPDATE bookings.alembic_version SET version_num = '9999'")
    await outside.execute("UPDATE bookings.schema_compatibility SET compatible_from = $1", migrate.head(BOOKINGS))
    assert await up(server, database) == "9999"
    assert migrating(server, database) == (0, "bookings is at revision 9999, which is newer than this code and serves it\n")
    await outside.execute("UPDATE bookings.schema_compatibility SET compatible_from = '9998'")
    why = "the schema is at 9999 and serves code from 9998 on: deploy newer code"
    with pytest.raises(migrate.TooOld, match=why):
        await up(server, database)
    code, said = migrating(server, database)
    assert code
    assert said.endswith(f"{why}\n")


def migrating(server: Server, database: str) -> tuple[int, str]:
    """What the command says, and its exit code."""
    environ = {**os.environ, "TEPPAN_DATABASE_OWNER_URL": server.url(database, "bookings_owner")}
    told = [sys.executable, "-m", "bookings", "migrate"]
    done = subprocess.run(told, env=environ, capture_output=True, text=True, check=False, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


async def test_an_index_that_an_earlier_attempt_left_invalid_is_made_again(
    server: Server, database: str, outside: asyncpg.Connection
) -> None:
    await down(server, database)
    await outside.execute(
        "SET ROLE bookings_owner; CREATE INDEX customers_user_id_idx ON bookings.customers (user_id); RESET ROLE;"
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'bookings.customers_user_id_idx'::regclass;"
        "ALTER TABLE bookings.known_stations ADD COLUMN gone boolean DEFAULT false NOT NULL"
    )
    await up(server, database)
    assert "WHERE (user_id IS NOT NULL)" in await outside.fetchval(INDEX, "bookings.customers_user_id_idx")


async def test_a_write_that_is_open_for_long_is_waited_for_and_keeps_nobody_out(
    server: Server, database: str, outside: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await down(server, database)
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "100ms")
    writer = await asyncpg.connect(server.url(database))
    waits = """SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY IF NOT EXISTS customers_user_id%'
        AND wait_event_type = 'Lock' AND query_start < clock_timestamp() - interval '300 ms' AND datname = current_database()"""
    async with writer.transaction():
        await writer.execute("LOCK TABLE bookings.customers IN ROW EXCLUSIVE MODE")
        migrating = asyncio.create_task(up(server, database))
        async with asyncio.timeout(20):
            while not await outside.fetchval(waits):
                assert not migrating.done(), migrating.exception()
                await asyncio.sleep(0.01)
        await outside.execute("UPDATE bookings.customers SET name = name")  # nobody is kept out
    assert await migrating == migrate.head(BOOKINGS)
    await writer.close()
