"""PgBouncer before the Postgres of the tests, from Debian's package `pgbouncer`; and services whose calls go through it."""

import csv
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from sqlalchemy.engine import make_url

from local import secret
from local.database import KINDS, SERVICES, Server
from local.postgres import CannotStart, as_server, binaries, dies_with_its_parent, private_folder
from local.stack import environment
from tests.conftest import new_database
from tests.integration.stage import Teppan, choose_ports

BINARY = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
"""Debian puts it where only root's PATH leads."""
WATCHER = "watcher"
"""Who may read PgBouncer's own figures."""
CALLS, DIRECT = "calls", "direct"
"""By these names PostgreSQL knows the services' sessions: those that PgBouncer has opened for their pools, and those past it."""
SESSIONS = {"session": 20, "transaction": 2}
"""How many PgBouncer opens for a role: in session mode one for each connection of a service's pools, else as few as are shared."""
START_SECONDS, STOP_SECONDS, POLL_SECONDS = 10.0, 10.0, 0.02
KEEPS_STATEMENTS = (1, 21)
"""From this version on PgBouncer can follow statements that a client prepared. Tests switch it off: Debian's 1.18 cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooler:
    """A PgBouncer that runs: it listens on a socket in a folder that is nobody else's."""

    run: Path
    version: str
    """Of PostgreSQL, whose `psql` asks PgBouncer."""

    @property
    def server(self) -> Server:
        """The server as clients of PgBouncer see it."""
        return Server(admin_url=f"postgresql://postgres@/postgres?host={self.run}&application_name={CALLS}")

    def show(self, what: str) -> Sequence[Mapping[str, str]]:
        """Returns the rows of a SHOW command of PgBouncer's console, which speaks only the simple protocol: asyncpg does not."""
        psql = [
            str(binaries(self.version) / "psql"), "--no-psqlrc", "--csv", f"--host={self.run}", f"--username={WATCHER}",
            f"--command=SHOW {what}", "pgbouncer",
        ]  # fmt: skip
        done = subprocess.run(psql, capture_output=True, text=True, check=True)
        return list(csv.DictReader(done.stdout.splitlines()))


@contextmanager
def pooler_before(server: Server, *, version: str, mode: str, **settings: str) -> Iterator[Pooler]:
    """A PgBouncer that pools in this mode, with further settings; nothing of it stays."""
    assert BINARY is not None
    run = private_folder("teppan-")
    log, pooler = run / "pgbouncer.log", Pooler(run=run, version=version)
    (run / "users.txt").write_text("".join(f'"{role}" "{server.password(role)}"\n' for role in (*_roles(), WATCHER)))
    (run / "pgbouncer.ini").write_text(_ini(server, run, mode, settings))
    with log.open("ab") as output:
        child = subprocess.Popen(
            [BINARY, "--quiet", str(run / "pgbouncer.ini")], stdout=output, stderr=output, start_new_session=True,
            preexec_fn=dies_with_its_parent,  # noqa: PLW1509  # it asks the kernel for one thing, before any thread
            **as_server(run),
        )  # fmt: skip
    try:
        _wait(child, pooler, log)
        yield pooler
    finally:
        _stop(child)
        shutil.rmtree(run, ignore_errors=True)


@dataclass
class Pooled(Teppan):
    """Three services whose calls reach PostgreSQL through PgBouncer."""

    pooler: Pooler = field(kw_only=True)
    mode: str = field(kw_only=True)
    prepared: str = field(kw_only=True)

    def environ(self, service: str) -> dict[str, str]:
        urls = self.pooler.server.roles(service, self.database)
        return environment(service, ports=self.ports, metrics=0, urls=urls, secrets=self.secrets) | {
            "TEPPAN_DATABASE_DIRECT_URL": self.direct_url(service),
            "TEPPAN_DATABASE_PREPARED": self.prepared,
        }

    def direct_url(self, service: str, name: str = DIRECT) -> str:
        """To PostgreSQL itself, which knows the session by this name."""
        url = make_url(self.server.url(self.database, f"{service}_platform")).update_query_dict({"application_name": name})
        return url.render_as_string(hide_password=False)

    async def sessions(self, query: str = "%") -> Mapping[tuple[str, str], int]:
        """Counts PostgreSQL's sessions by role and name, those whose newest statement is like this."""
        connection = await asyncpg.connect(self.server.url(self.database))
        try:
            found = await connection.fetch(
                "SELECT usename, application_name FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid != pg_backend_pid() AND query LIKE $1",
                query,
            )
        finally:
            await connection.close()
        return Counter((row["usename"], row["application_name"]) for row in found)


@asynccontextmanager
async def pooled_on(
    server: Server, template: str, secrets: Path, *, version: str, mode: str, prepared: str, **settings: str
) -> AsyncIterator[Pooled]:
    """The services on a database of their own. None of them has started yet."""
    database = new_database()
    secret.make(secrets, SERVICES)
    await server.create(database, template)
    with pooler_before(server, version=version, mode=mode, **settings) as pooler:
        made = Pooled(server, database, secrets, choose_ports(), pooler=pooler, mode=mode, prepared=prepared)
        try:
            yield made
        finally:
            await made.close()
    await server.drop(database)


def _roles() -> Sequence[str]:
    return [f"{service}_{kind}" for service in SERVICES for kind in KINDS]


def _ini(server: Server, run: Path, mode: str, more: Mapping[str, str]) -> str:
    url = make_url(server.admin_url)
    host, port = url.host or url.query.get("host"), url.port or 5432
    settings = {
        "listen_addr": "", "unix_socket_dir": run, "unix_socket_mode": "0700", "auth_type": "trust", "auth_file": run / "users.txt",
        "stats_users": WATCHER, "pool_mode": mode, "default_pool_size": SESSIONS[mode], "max_client_conn": 300, "listen_port": 5432,
        **more,
    }  # fmt: skip
    if _version() >= KEEPS_STATEMENTS:
        settings["max_prepared_statements"] = 0
    lines = [f"{name} = {value}" for name, value in settings.items()]
    return "\n".join(["[databases]", f"* = host={host} port={port}", "[pgbouncer]", *lines, ""])


def _version() -> tuple[int, ...]:
    said = subprocess.run([str(BINARY), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)", said)
    assert found, said
    return tuple(int(number) for number in found.groups())


def _wait(child: subprocess.Popen[bytes], pooler: Pooler, log: Path) -> None:
    """Returns once PgBouncer answers; raises CannotStart with what it said."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            pooler.show("VERSION")
        except subprocess.CalledProcessError as error:
            if child.poll() is not None or time.monotonic() > deadline:
                raise CannotStart(f"PgBouncer does not start: {log.read_text()[-2000:]}{error.stderr}") from None
            time.sleep(POLL_SECONDS)
        else:
            return


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Ends PgBouncer at once, and throws out whoever is connected."""
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
