"""Migrations of one schema: one linear history, one migrator at a time, and what a service may serve on."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncpg
from alembic import command, context, op
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, MetaData, Table, Text, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from dbcommon.database import Database
from dbcommon.schema import Access, Schema
from dbcommon.urls import endpoint

LOCK_TIMEOUT = "2s"
POLL_SECONDS = 0.5
ACCESS = Access(app=("SELECT",), platform=("SELECT",))


def table(metadata: MetaData) -> Table:
    """`schema_compatibility`: the oldest code, by its newest revision, that the schema still serves."""
    return Table("schema_compatibility", metadata, Column("compatible_from", Text, primary_key=True))


def grants(service: str) -> list[str]:
    """DDL of the first revision: what a service reads before it serves."""
    return [
        f"INSERT INTO {service}.schema_compatibility VALUES ('0001')",
        f"GRANT SELECT ON {service}.alembic_version TO {service}_app, {service}_platform",
    ]


def run(schema: Schema) -> None:
    """What env.py calls: runs the revisions on the connection that `upgrade` brought, each in a transaction of its own."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=schema.metadata,
        version_table_schema=schema.service,
        include_schemas=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def script(path: Path) -> list[str]:
    """The statements of an SQL file, each of which ends in `;` before an empty line."""
    return [statement.strip().removesuffix(";") for statement in path.read_text().split(";\n\n") if statement.strip()]


def index_concurrently(name: str, definition: str) -> None:
    """Makes an index without keeping writes out; called before a revision's other statements, and again where that broke off.

    `name` is with its schema, `definition` what follows ON. A wait for transactions that are open is no lock that keeps others
    out, so it has no limit. What an earlier attempt left INVALID is made again.
    """
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        connection.execute(text("SET lock_timeout = 0"))
        broken = text("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
        if connection.execute(broken, {"name": name}).scalar():
            connection.execute(text(f"DROP INDEX CONCURRENTLY {name}"))
        connection.execute(text(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name.partition('.')[2]} ON {definition}"))
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))


def drop_objects(service: str) -> str:
    """The statement that empties a schema but for Alembic's own table."""
    return f"""DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT relname FROM pg_class WHERE relnamespace = '{service}'::regnamespace
               AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'alembic_version' LOOP
    EXECUTE format('DROP TABLE {service}.%I CASCADE', name);
  END LOOP;
  FOR name IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = '{service}'::regnamespace LOOP
    EXECUTE 'DROP FUNCTION ' || name;
  END LOOP;
END $$"""


def drop_everything(service: str) -> list[str]:
    """DDL of the way down from the first revision."""
    return [
        drop_objects(service),
        f"REVOKE ALL ON {service}.alembic_version FROM {service}_app, {service}_platform",
    ]


def config(folder: Path) -> Config:
    """Alembic's configuration for the migrations in a folder."""
    made = Config()
    made.set_main_option("script_location", str(folder).replace("%", "%%"))
    return made


def head(folder: Path) -> str:
    """The newest revision that this code knows."""
    return ScriptDirectory.from_config(config(folder)).get_current_head() or ""


class TooOld(Exception):
    """The schema does not serve this code any more; the message says which one it serves."""


async def upgrade(url: str, service: str, folder: Path, revision: str = "head") -> str:
    """Brings a schema up to a revision as its owner; waits for another migrator. Returns the revision reached.

    A schema that is newer stays as it is: code was rolled back. Raises TooOld where it does not serve this code any more.
    """

    def step(made: Config) -> None:
        if not _newer(made.attributes["connection"], service, head(folder)):
            command.upgrade(made, revision)

    return await _migrate(url, service, folder, step)


async def downgrade(url: str, service: str, folder: Path, revision: str = "base") -> str:
    """Takes a schema down to a revision, as `upgrade` brings it up; empty at the very bottom."""
    return await _migrate(url, service, folder, lambda made: command.downgrade(made, revision))


async def _migrate(url: str, service: str, folder: Path, step: Callable[[Config], None]) -> str:
    arguments = endpoint(url).arguments()
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(**arguments))
    try:
        async with engine.connect() as guard, engine.connect() as connection:
            await _lock(guard, service)
            await connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
            await connection.commit()
            await connection.run_sync(_step, folder, step)
            await connection.commit()
            version = await connection.execute(text(f"SELECT version_num FROM {service}.alembic_version"))
            return str(version.scalar_one_or_none() or "")
    finally:
        await engine.dispose()


async def _lock(connection: AsyncConnection, service: str) -> None:
    """Polls: a migrator that waited inside the lock function would deadlock with CREATE INDEX CONCURRENTLY."""
    name = {"name": f"migrate {service}"}
    while not (await connection.execute(text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))"), name)).scalar_one():
        await connection.commit()
        await asyncio.sleep(POLL_SECONDS)
    await connection.commit()


def _step(connection: Connection, folder: Path, step: Callable[[Config], None]) -> None:
    made = config(folder)
    made.attributes["connection"] = connection
    step(made)


def _newer(connection: Connection, service: str, known: str) -> bool:
    """Whether the schema is at a revision that this code does not know, and serves it all the same. Raises TooOld."""
    try:
        if connection.execute(text("SELECT to_regclass(:name)"), {"name": f"{service}.alembic_version"}).scalar() is None:
            return False
        found = str(connection.execute(text(f"SELECT version_num FROM {service}.alembic_version")).scalar() or "")
        if found <= known:
            return False
        oldest = str(connection.execute(text(f"SELECT compatible_from FROM {service}.schema_compatibility")).scalar_one())
        if oldest > known:
            raise TooOld(f"{_unserved(known, found, oldest)}: deploy newer code")
        return True
    finally:
        connection.rollback()  # a migration begins a transaction of its own


def _unserved(known: str, found: str, oldest: str) -> str:
    return f"this code knows revision {known}; the schema is at {found} and serves code from {oldest} on"


async def unready(database: Database, service: str, known: str) -> str | None:
    """Why code whose newest revision is `known` must not serve on this database; None where it may."""
    statement = f"SELECT v.version_num, c.compatible_from FROM {service}.alembic_version v, {service}.schema_compatibility c"
    found = (await database.look(statement)).one()
    if found.compatible_from <= known <= found.version_num:
        return None
    why = _unserved(known, found.version_num, found.compatible_from)
    return f"{why}: run `python -m {service} migrate`, or deploy newer code"
