"""What a service refuses to start on, and the two promises that are asserted while it runs."""

import os
import traceback
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from bookings.tables import SCHEMA
from dbcommon.database import Database, assert_idle
from dbcommon.tenancy import NO_TENANT, Unsafe, refuse_unsafe
from faults import DatabaseUnavailable, DeadlineExceeded, LockTimeout
from ids import new_id
from local.database import KINDS, SERVICES, Server

SECRET = "bo@example.com"  # noqa: S105  # somebody\'s address


async def checked(url: str) -> None:
    database = Database(url, pool_size=1)
    try:
        async with database.transaction(read_only=True) as tx:
            await refuse_unsafe(tx, "bookings", SCHEMA.tenant_tables)
    finally:
        await database.close()


async def administer(server: Server, database: str, statement: str) -> None:
    connection = await asyncpg.connect(server.url(database))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def app(server: Server, database: str) -> AsyncIterator[Database]:
    """The application's role, with two connections."""
    made = Database(server.url(database, "bookings_app"), pool_size=2)
    yield made
    await made.close()


@pytest.mark.parametrize("kind", ["app", "platform"])
async def test_the_roles_that_a_service_has_are_safe(server: Server, database: str, kind: str) -> None:
    await checked(server.url(database, f"bookings_{kind}"))


async def test_an_owner_is_refused(server: Server, database: str) -> None:
    with pytest.raises(Unsafe, match=r"owns .* Use the role bookings_app"):
        await checked(server.url(database, "bookings_owner"))


async def test_a_role_that_row_level_security_does_not_bind_is_refused(server: Server, database: str) -> None:
    role = f"teppan_unbound_{new_id().hex}"
    made = f"CREATE ROLE {role} LOGIN BYPASSRLS PASSWORD '{server.password(role)}'; GRANT CONNECT ON DATABASE {database} TO {role}"
    await administer(server, database, made)
    try:
        with pytest.raises(Unsafe, match=r"exempt from row-level security \(BYPASSRLS\)"):
            await checked(server.url(database, role))
    finally:
        await administer(server, database, f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize("broken", ["NO FORCE ROW LEVEL SECURITY", "DISABLE ROW LEVEL SECURITY"])
async def test_a_tenant_table_without_forced_isolation_is_refused(server: Server, database: str, broken: str) -> None:
    await administer(server, database, f"ALTER TABLE bookings.customers {broken}")
    with pytest.raises(Unsafe, match=r"bookings\.customers has no forced row-level security"):
        await checked(server.url(database, "bookings_app"))


async def test_a_tenant_table_without_its_policy_is_refused(server: Server, database: str) -> None:
    await administer(server, database, "DROP POLICY tenant ON bookings.slots")
    with pytest.raises(Unsafe, match=r"bookings\.slots has no forced row-level security"):
        await checked(server.url(database, "bookings_app"))


async def test_a_missing_table_is_refused_with_what_to_do(server: Server, database: str) -> None:
    await administer(server, database, "DROP TABLE bookings.price_lines")
    with pytest.raises(Unsafe, match=r"price_lines is missing: run `python -m bookings migrate`"):
        await checked(server.url(database, "bookings_app"))


async def test_nothing_is_asked_of_others_inside_a_transaction_or_a_read(server: Server, database: str, app: Database) -> None:
    async with app.transaction(tenant=new_id()):
        with pytest.raises(AssertionError, match="still holds a transaction"):
            assert_idle()
    held: list[str] = []

    class Holding(Database):
        def release(self, connection: Any, *, broken: bool = False, settle: str = "") -> None:
            with pytest.raises(AssertionError, match="still holds a connection"):
                assert_idle()
            held.append("a connection")
            super().release(connection, broken=broken, settle=settle)

    reader = Holding(server.url(database, "bookings_app"), pool_size=1)
    await reader.read("SELECT b.id FROM bookings.bookings b WHERE b.station_id = s.tenant LIMIT 1", tenant=new_id())
    await reader.look("SELECT 1")
    await reader.close()
    assert len(held) == 2
    assert_idle()


async def test_a_transaction_inside_another_is_a_bug(app: Database) -> None:
    async with app.transaction(tenant=new_id()):
        with pytest.raises(AssertionError, match="still holds a transaction"):
            async with app.transaction(tenant=new_id()):
                pass


@pytest.mark.parametrize("body", ["SELECT 1 LIMIT 1", "SELECT s.tenant", "SELECT s.tenant LIMIT $2"])
async def test_a_body_that_could_run_before_its_setting_is_refused(app: Database, body: str) -> None:
    with pytest.raises(ValueError, match="literal LIMIT"):
        await app.read(body, tenant=new_id())


async def test_no_session_state_outlives_its_transaction(app: Database) -> None:
    look = "SELECT current_setting('teppan.station_id', true), current_setting('lock_timeout'), pg_backend_pid()"
    async with app.transaction(tenant=new_id()) as tx:
        pid = (await tx.execute(look)).one()[2]
    async with app.transaction() as tx:
        station, lock_timeout, same = (await tx.execute(look)).one()
    assert (station or "", lock_timeout, same) == ("", "2s", pid)


async def test_a_lock_that_is_not_given_in_time_is_a_typed_refusal(server: Server, database: str, app: Database) -> None:
    connection = await asyncpg.connect(server.url(database))
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE bookings.bookings IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(LockTimeout):
                async with app.transaction(tenant=NO_TENANT, lock_seconds=1) as tx:
                    await tx.execute("SELECT FROM bookings.bookings")
    finally:
        await connection.close()


async def test_a_statement_that_is_cancelled_for_its_time_says_so(app: Database) -> None:
    with pytest.raises(DeadlineExceeded):  # noqa: PT012  # the transaction is what raises
        async with app.transaction(tenant=NO_TENANT) as tx:
            await tx.execute("SET LOCAL statement_timeout = '50ms'")
            await tx.execute("SELECT pg_sleep(5)")


async def test_a_connection_that_breaks_is_a_typed_refusal_and_the_next_one_works(
    server: Server, database: str, app: Database
) -> None:
    with pytest.raises(DatabaseUnavailable):  # noqa: PT012  # the transaction is what raises
        async with app.transaction(tenant=NO_TENANT) as tx:
            pid: int = (await tx.execute("SELECT pg_backend_pid()")).value()
            await administer(server, database, f"SELECT pg_terminate_backend({pid})")
            await tx.execute("SELECT 1")
    await app.ping()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT CAST(:name AS text)::uuid",
        "SELECT CAST(:name AS integer)",
        "INSERT INTO bookings.schedules (station_id, version, update_time) SELECT NULL, length(:name), now()",
    ],
)
async def test_an_error_of_the_database_does_not_tell_what_was_sent(app: Database, statement: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as raised:  # the transaction is what raises
        async with app.transaction(tenant=NO_TENANT) as tx:
            await tx.execute(statement, {"name": SECRET})
    shown = "".join(traceback.format_exception(raised.value))
    assert SECRET not in shown.replace(f'"name": "{SECRET}"', "")


async def test_a_server_that_is_not_there_is_a_typed_refusal() -> None:
    nowhere = Database("postgresql://bookings_app@/teppan?host=/nonexistent", pool_size=1)
    with pytest.raises(DatabaseUnavailable):
        await nowhere.ping()
    await nowhere.close()


@pytest.mark.skipif("TEPPAN_DATABASE_URL" in os.environ, reason="of a cluster that Teppan makes")
@pytest.mark.parametrize("other", ["postgres", "template1"])
async def test_no_role_enters_the_databases_that_every_cluster_has(server: Server, database: str, other: str) -> None:
    for role in (f"{service}_{kind}" for service in SERVICES for kind in KINDS):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
            await asyncpg.connect(server.url(other, role))
