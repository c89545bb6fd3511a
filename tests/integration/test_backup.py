"""What is backed up comes back whole, into a fresh schema or into tables that stayed; and else nothing is changed."""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from dbcommon import migrate
from local.backup import CannotRestore, ServiceSchema
from local.database import SERVICES, Server
from tests.conftest import new_database
from tests.integration.stage import eventually, teppan_on
from tests.integration.test_schemas import catalog, empty, migrations

__all__ = ["empty"]

TABLES = """SELECT relname FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
  ORDER BY relname"""
Way = dict[str, bool]
WAYS = pytest.mark.parametrize("way", [{"data_only": True}, {"data_only": False}], ids=["data", "schema"])
READY = "SELECT count(*) FROM bookings.feed_state WHERE ready_incarnation = bookings.incarnation()"
FORGOTTEN = {"feed_head": "epoch", "feed_state": "ready_incarnation"}


@pytest.fixture(scope="module")
async def worked(server: Server, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A database that services have worked in, and left."""
    name = new_database()
    await server.create(name, template)
    async with teppan_on(server, name, tmp_path_factory.mktemp("secrets")) as teppan:
        station = await teppan.station()
        await teppan.week(station, slots_a_day=2, capacity=5)
        booking = await teppan.booking(station, await teppan.customer(station))
        await eventually(lambda: teppan.pay(station, booking.booking_id, 10))
        await hears_both(server, name)
        await teppan.stop(*reversed(SERVICES))
    yield name
    await server.drop(name)


async def hears_both(server: Server, database: str) -> None:
    """Waits until bookings has caught up with both whom it follows: the work above needs identity alone."""
    connection = await asyncpg.connect(server.url(database))

    async def hears() -> None:
        assert await connection.fetchval(READY) == 2

    await eventually(hears)
    await connection.close()


@pytest.fixture
async def used(server: Server, worked: str) -> AsyncIterator[str]:
    """A copy of it."""
    name = new_database()
    await server.create(name, worked)
    yield name
    await server.drop(name)


@pytest.fixture
async def bookings(server: Server, used: str) -> ServiceSchema:
    return ServiceSchema(server=server, database=used, service="bookings")


@pytest.fixture
async def file(bookings: ServiceSchema, tmp_path: Path) -> Path:
    """A backup of bookings."""
    return await backed_up(bookings, tmp_path / "bookings.dump")


@pytest.fixture
async def rows(server: Server, used: str) -> AsyncIterator[asyncpg.Connection]:
    """Sees and may do everything."""
    connection = await asyncpg.connect(server.url(used))
    yield connection
    await connection.close()


async def backed_up(schema: ServiceSchema, file: Path) -> Path:
    await asyncio.to_thread(schema.back_up, file)
    return file


def status(file: Path) -> os.stat_result:
    return file.stat()


async def all_of(schema: ServiceSchema) -> tuple[Any, Any]:
    """Its rows, and its catalog, which does not say by itself that triggers are on."""
    connection = await asyncpg.connect(schema.server.url(schema.database))
    assert await connection.fetchval("SELECT bool_and(tgenabled = 'O') FROM pg_trigger")
    await connection.close()
    return (
        await content(schema.server, schema.database, schema.service),
        await catalog(schema.server, schema.database, schema.service),
    )


async def content(server: Server, database: str, service: str) -> dict[str, list[Any]]:
    """All rows of all tables, but for what a restore has to forget."""
    connection = await asyncpg.connect(server.url(database))
    tables = [row["relname"] for row in await connection.fetch(TABLES, service)]
    every = "SELECT to_jsonb(t) - $1 AS row FROM {0}.{1} t ORDER BY 1"
    found = {table: await connection.fetch(every.format(service, table), FORGOTTEN.get(table, "")) for table in tables}
    await connection.close()
    return found


@WAYS
@pytest.mark.parametrize("service", SERVICES)
async def test_a_schema_comes_back_whole(server: Server, used: str, empty: str, service: str, way: Way, tmp_path: Path) -> None:
    there, fresh = [ServiceSchema(server=server, database=name, service=service) for name in (used, empty)]
    before, file = await all_of(there), await backed_up(there, tmp_path / "dump")
    assert status(file).st_mode & 0o777 == 0o600
    restored = there if way["data_only"] else fresh
    await asyncio.to_thread(restored.check, file, **way, confirmed=way["data_only"])
    await asyncio.to_thread(restored.restore, file, **way)
    assert await all_of(restored) == before


@WAYS
async def test_what_came_after_the_backup_goes(bookings: ServiceSchema, file: Path, rows: asyncpg.Connection, way: Way) -> None:
    before = await all_of(bookings)
    assert before[0]["price_lines"]
    await rows.execute("UPDATE bookings.customers SET name = 'changed'; DELETE FROM bookings.price_lines")
    await rows.execute("INSERT INTO bookings.known_users (id, epoch, version, state) VALUES ($1, $1, 1, 1)", uuid4())
    await asyncio.to_thread(bookings.check, file, **way, confirmed=True)
    await asyncio.to_thread(bookings.restore, file, **way)
    assert await all_of(bookings) == before


@WAYS
async def test_nobody_is_ready_and_no_epoch_goes_on_afterwards(
    bookings: ServiceSchema, file: Path, rows: asyncpg.Connection, way: Way
) -> None:
    goes_on = "SELECT count(*) FROM bookings.feed_head h JOIN bookings.epochs e USING (epoch) WHERE e.incarnation = bookings.incarnation()"
    assert [await rows.fetchval(READY), await rows.fetchval(goes_on)] == [2, 1]
    await asyncio.to_thread(bookings.restore, file, **way)
    assert [await rows.fetchval(READY), await rows.fetchval(goes_on)] == [0, 0]


@WAYS
async def test_a_restore_that_fails_changes_nothing_and_says_so(
    bookings: ServiceSchema, file: Path, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await all_of(bookings)
    first, last = bookings._around(**way)
    monkeypatch.setattr(ServiceSchema, "_around", lambda *_, **__: (first, [*last, "SELECT 1 / 0"]))
    with pytest.raises(CannotRestore, match=r"(?s)^Nothing was changed.*division by zero"):
        await asyncio.to_thread(bookings.restore, file, **way)
    assert await all_of(bookings) == before


async def test_half_a_file_changes_nothing(bookings: ServiceSchema, file: Path) -> None:
    before = await all_of(bookings)
    os.truncate(file, status(file).st_size * 2 // 3)
    for step in (partial(bookings.check, confirmed=True), bookings.restore):
        with pytest.raises(CannotRestore, match="Nothing was changed, for pg_restore failed"):
            await asyncio.to_thread(step, file, data_only=False)
    assert await all_of(bookings) == before


@pytest.mark.parametrize("kind", ["app", "platform"])
async def test_a_restore_refuses_while_processes_of_the_service_run(
    bookings: ServiceSchema, file: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.backup.LEAVE_SECONDS", 0.3)
    process = await asyncpg.connect(bookings.server.url(bookings.database, f"bookings_{kind}"))
    with pytest.raises(CannotRestore, match="1 connections of bookings's processes are open: stop all of them first"):
        await asyncio.to_thread(bookings.restore, file, data_only=False)
    await process.close()
    await asyncio.to_thread(bookings.restore, file, data_only=False)


async def test_what_does_not_fit_is_refused_and_says_why(
    bookings: ServiceSchema, file: Path, rows: asyncpg.Connection, tmp_path: Path
) -> None:
    async def why(file: Path, *, of: ServiceSchema = bookings, data_only: bool = False, confirmed: bool = True) -> str:
        with pytest.raises(CannotRestore) as refusal:
            await asyncio.to_thread(of.check, file, data_only=data_only, confirmed=confirmed)
        return str(refusal.value)

    assert "say CONFIRM=yes" in await why(file, confirmed=False)
    payments = ServiceSchema(server=bookings.server, database=bookings.database, service="payments")
    assert "is no backup of payments" in await why(file, of=payments)
    with pytest.raises(CannotRestore, match="is not overwritten"):
        await backed_up(bookings, file)
    with pytest.raises(CannotRestore, match="cannot be written: No such file or directory"):
        await backed_up(bookings, tmp_path / "nowhere" / "dump")
    await rows.execute("UPDATE bookings.alembic_version SET version_num = '0001'")
    assert "the schema is at 0001: bring back both" in await why(file, data_only=True)
    await rows.execute("UPDATE bookings.alembic_version SET version_num = '9999'")
    assert "restore it with newer code" in await why(await backed_up(bookings, tmp_path / "newer"))


async def test_an_older_schema_is_brought_up_to_the_code(
    bookings: ServiceSchema, rows: asyncpg.Connection, tmp_path: Path
) -> None:  # fmt: skip
    await migrate.downgrade(bookings.server.url(bookings.database, "bookings_owner"), "bookings", migrations("bookings"), "0005")
    file = await backed_up(bookings, tmp_path / "older")
    await asyncio.to_thread(bookings.restore, file, data_only=False)
    assert await rows.fetchval("SELECT version_num FROM bookings.alembic_version") == "0005"
    await bookings.migrate()
    assert await rows.fetchval("SELECT version_num FROM bookings.alembic_version") == migrate.head(migrations("bookings"))
