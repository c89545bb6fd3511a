"""Roles, schemas and migrations of all services in one database, as every deployment makes them."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy.engine import make_url

from dbcommon import migrate
from dbcommon.urls import endpoint

ROOT = Path(__file__).resolve().parents[2]
ROLES_SQL = ROOT / "deploy" / "postgres" / "roles.sql"
SERVICES = ("identity", "bookings", "payments")
KINDS = ("owner", "app", "platform")
ROLES_LOCK = 7_350_115_204
"""Any number that nobody else locks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A PostgreSQL server, by the URL of somebody who may make databases and roles there."""

    admin_url: str

    def __repr__(self) -> str:
        """Without the password."""
        return f"Server({make_url(self.admin_url)!r})"

    def url(self, database: str, role: str | None = None) -> str:
        """The URL of a database, as the administrator or as one of Teppan's roles."""
        url = make_url(self.admin_url).set(database=database)
        if role is not None:
            url = url.set(username=role, password=self.password(role) if url.password else None)
        return url.render_as_string(hide_password=False)

    def password(self, role: str) -> str:
        """A role's password: made of the administrator's, so that whoever may set it up can also use it."""
        secret = make_url(self.admin_url).password or ""
        return hmac.new(str(secret).encode(), role.encode(), hashlib.sha256).hexdigest()

    def roles(self, service: str, database: str) -> Mapping[str, str]:
        """A service's URLs by kind of role."""
        return {kind: self.url(database, f"{service}_{kind}") for kind in KINDS}

    async def prepare(self, database: str) -> None:
        """Makes the database, unless it is there, and in it roles and schemas. Can be repeated, and be done by two at once."""
        await self.create(database)
        connection = await asyncpg.connect(**endpoint(self.url(database)).arguments())
        try:
            async with _Admin(self) as admin, admin.transaction():  # roles are the whole server's; a lock is one database's
                await admin.execute("SELECT pg_advisory_xact_lock($1)", ROLES_LOCK)
                await connection.execute(ROLES_SQL.read_text())
                if make_url(self.admin_url).password:
                    for role in (f"{service}_{kind}" for service in SERVICES for kind in KINDS):
                        await connection.execute(f"ALTER ROLE {role} PASSWORD '{self.password(role)}'")
        finally:
            await connection.close()

    async def migrate(self, database: str) -> None:
        """Brings all schemas to their newest revisions, each as its owner."""
        for service in SERVICES:
            folder = ROOT / "services" / service / "migrations"
            await migrate.upgrade(self.url(database, f"{service}_owner"), service, folder)

    async def create(self, database: str, template: str | None = None) -> None:
        """Makes a database, unless it is there; from a template that nobody is connected to."""
        async with _Admin(self) as admin:
            if not await admin.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database):
                copied = f" TEMPLATE {template} STRATEGY FILE_COPY" if template else ""
                await admin.execute(f"CREATE DATABASE {database}{copied}")
                if template:  # grants on a database are not copied with it
                    roles = ", ".join(f"{service}_{kind}" for service in SERVICES for kind in KINDS)
                    await admin.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
                    await admin.execute(f"GRANT CONNECT ON DATABASE {database} TO {roles}")

    async def drop(self, database: str) -> None:
        """Removes a database, and throws out who is connected."""
        async with _Admin(self) as admin:
            await admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


class _Admin:
    """A connection of the administrator."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __aenter__(self) -> asyncpg.Connection:
        self._connection = await asyncpg.connect(**endpoint(self._server.admin_url).arguments())
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()
