"""The schemas: what the migrations make is what `tables.py` says (of references, `test_references_catalog.py` says more)."""

import importlib
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from dbcommon import migrate
from dbcommon.schema import Schema
from local.database import ROOT, SERVICES, Server
from tests.conftest import new_database

CATALOGS = {
    "columns": """SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull, a.attidentity::text,
        pg_get_expr(d.adbin, d.adrelid) AS default_ FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped""",
    "grants": """SELECT c.relname, a.attname, g.privilege_type, pg_get_userbyid(g.grantee) AS grantee
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid, aclexplode(a.attacl) g
        WHERE c.relnamespace = $1::regnamespace ORDER BY 1, 2, 3, 4""",
    "constraints": """SELECT c.relname, k.conname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        WHERE k.connamespace = $1::regnamespace AND k.contype <> 'n'""",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = $1",
    "triggers": """SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = $1::regnamespace AND NOT t.tgisinternal""",
    "functions": "SELECT proname, pg_get_functiondef(oid), proacl::text FROM pg_proc WHERE pronamespace = $1::regnamespace",
    "policies": "SELECT tablename, policyname, roles::text, cmd, qual, with_check FROM pg_policies WHERE schemaname = $1",
    "tables": """SELECT relname, relkind::text, relrowsecurity, relforcerowsecurity, relacl::text, pg_get_userbyid(relowner) AS owner
        FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p', 'S')""",
}


@pytest.fixture
async def empty(server: Server) -> AsyncIterator[str]:
    """A database with roles and schemas, and nothing in them."""
    name = new_database()
    await server.prepare(name)
    yield name
    await server.drop(name)


@pytest.mark.parametrize("service", SERVICES)
async def test_the_migrations_make_what_the_tables_say(server: Server, database: str, empty: str, service: str) -> None:
    await run(
        server.url(empty, f"{service}_owner"), [f"CREATE TABLE {service}.alembic_version (version_num varchar(32) PRIMARY KEY)"]
    )
    await run(server.url(empty, f"{service}_owner"), schema_of(service).statements())
    declared, made = await catalog(server, empty, service), await catalog(server, database, service)
    for name in CATALOGS:
        assert without_alembic(made[name]) == without_alembic(declared[name]), name
        assert made[name] or (service, name) == ("identity", "grants"), name


@pytest.mark.parametrize("service", SERVICES)
async def test_a_migration_goes_up_down_and_up_again(server: Server, empty: str, service: str) -> None:
    url, folder = server.url(empty, f"{service}_owner"), migrations(service)
    head = await migrate.upgrade(url, service, folder)
    first = await catalog(server, empty, service)
    for step in range(int(head) - 1, 0, -1):
        await migrate.downgrade(url, service, folder, f"{step:04d}")
    await migrate.downgrade(url, service, folder)
    assert (await catalog(server, empty, service))["tables"] != first["tables"]
    assert await migrate.upgrade(url, service, folder) == head
    assert await catalog(server, empty, service) == first


async def test_deleted_stations_survive_the_way_down_and_up_again(server: Server, empty: str) -> None:
    url, folder = server.url(empty, "identity_owner"), migrations("identity")
    await migrate.upgrade(url, "identity", folder)
    insert = "INSERT INTO identity.stations VALUES (gen_random_uuid(), $1, '', '', '', '', $2, 1, now(), now(){})"
    await fetch(url, insert.format(""), "INUSE", 2)  # as the code of before writes it
    await fetch(url, insert.format(", now()"), "GONE", 3)
    await migrate.downgrade(url, "identity", folder, "0001")
    assert await migrate.upgrade(url, "identity", folder) == migrate.head(folder)
    rows = await fetch(url, "SELECT code, state, delete_time = update_time FROM identity.stations ORDER BY state")
    assert [tuple(row) for row in rows] == [("INUSE", 2, None), ("GONE", 3, True)]
    for code, state, time in (("A", 3, ""), ("B", 1, ", now()")):
        with pytest.raises(asyncpg.CheckViolationError, match="stations_delete_time_check"):
            await fetch(url, insert.format(time), code, state)


@pytest.mark.parametrize("service", ["bookings", "payments"])
async def test_going_back_refuses_while_events_lie_aside_and_loses_none(server: Server, database: str, service: str) -> None:
    url, folder = server.url(database, f"{service}_owner"), migrations(service)
    aside = f"INSERT INTO {service}.parked_events (owner, event_id, type, entity_id, epoch, position, version, event) VALUES ('identity', $1, '', $1, $1, 1, 1, '')"
    await fetch(server.url(database, f"{service}_platform"), aside, uuid4())
    with pytest.raises(DBAPIError, match=rf"replay or drop them first \(python -m {service} events\)"):
        await migrate.downgrade(url, service, folder, "0001")
    assert len(await fetch(url, f"SELECT FROM {service}.parked_events")) == 1


@pytest.mark.parametrize("service", ["identity", "bookings"])
async def test_going_back_refuses_while_purges_are_under_way_and_leaves_what_only_began(
    server: Server, database: str, service: str
) -> None:
    url, folder = server.url(database, f"{service}_owner"), migrations(service)
    begun = f"INSERT INTO {service}.purges (type, id, epoch, version) VALUES ('', gen_random_uuid(), gen_random_uuid(), 1)"
    await fetch(server.url(database, f"{service}_platform"), begun)
    await fetch(server.url(database, f"{service}_platform"), f"UPDATE {service}.purges SET purging_time = now()")
    with pytest.raises(DBAPIError, match="purges are under way"):
        await migrate.downgrade(url, service, folder, "0002")
    await fetch(server.url(database, f"{service}_platform"), f"UPDATE {service}.purges SET purging_time = NULL")
    assert await migrate.downgrade(url, service, folder, "0002") == "0002"


async def test_going_back_refuses_while_users_are_being_purged(server: Server, database: str) -> None:
    url, folder = server.url(database, "identity_owner"), migrations("identity")
    purging = "INSERT INTO identity.users VALUES (gen_random_uuid(), '', '', '', '', 0, 4, 1, now(), now())"
    await fetch(server.url(database, "identity_platform"), purging)
    with pytest.raises(DBAPIError, match="users are being purged"):
        await migrate.downgrade(url, "identity", folder, "0003")


@pytest.mark.parametrize("service", SERVICES)
async def test_every_table_says_whose_its_rows_are(service: str) -> None:
    schema = schema_of(service)
    assert {table.name for table in schema.metadata.tables.values()} == set(schema.access)


@pytest.mark.parametrize("service", SERVICES)
async def test_what_is_append_only_cannot_be_changed(server: Server, database: str, service: str) -> None:
    may = "SELECT privilege_type FROM information_schema.role_table_grants WHERE table_schema = $1 AND table_name = $2 AND grantee = $3"
    verbs = {row[0] for row in await fetch(server.url(database), may, service, "events", f"{service}_platform")}
    assert verbs == {"SELECT", "INSERT"}
    assert not await fetch(server.url(database), may, service, "events", f"{service}_app")


async def test_filters_of_tenant_tables_are_leakproof(server: Server, database: str) -> None:
    for type in ("uuid", "timestamp with time zone", "smallint"):
        leaky = """SELECT oprname FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode WHERE oprleft = $1::regtype AND oprright = $1::regtype
            AND oprname IN ('=', '<', '>', '<=', '>=') AND NOT proleakproof"""
        assert await fetch(server.url(database), leaky, type) == []


def schema_of(service: str) -> Schema:
    schema: Schema = importlib.import_module(f"{service}.tables").SCHEMA
    return schema


def migrations(service: str) -> Path:
    return ROOT / "services" / service / "migrations"


def without_alembic(rows: list[Any]) -> list[Any]:
    return [row for row in rows if "alembic_version" not in str(row)]


async def catalog(server: Server, database: str, service: str) -> Mapping[str, list[Any]]:
    """All that the catalogs say of a schema; partitions by day are left out, their names change."""
    found = {}
    for name, query in CATALOGS.items():
        rows = await fetch(server.url(database), query, service)
        found[name] = sorted(str(tuple(row)) for row in rows if not re.search(r"events_\d{8}", str(tuple(row))))
    return found


async def run(url: str, statements: list[str]) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(url: str, query: str, *values: Any) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query, *values))
    finally:
        await connection.close()
