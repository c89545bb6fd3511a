"""One service's schema, written to a file and brought back from it: as its owner, by the programs of PostgreSQL itself.

A restore is one transaction, also where it makes the whole schema anew. What is brought back is a past: nothing that was true
of the database since may be taken for true of it, so readiness (as one who refers) and the epoch (as one who is followed) end.
Tables that are made anew end both by themselves, since `incarnation()` sees that; data that come into tables that stay do not.
"""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy.engine import URL, make_url

from dbcommon import feed, inbox, migrate
from local.database import ROOT, Server
from local.parked import FOLLOWERS
from local.postgres import binaries

LEAVE_SECONDS = 10.0
"""A process that has ended is seen by its database a moment later."""
POLL_SECONDS = 0.1
WHY_MAX = 2_000
NEW, OLD, OLD_BEFORE = "18", "16", 170_000
"""The programs in the wheel. What those of 18 write no server before 17 reads; they read what any server has."""

THERE = "SELECT to_regclass('{0}.alembic_version') IS NOT NULL"
REVISION = "SELECT version_num FROM {0}.alembic_version"
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename IN ('{0}_app', '{0}_platform')"

LOOSEN = """DO $$ DECLARE t regclass; c record; BEGIN
  FOR t IN SELECT oid FROM pg_class WHERE relnamespace = '{0}'::regnamespace AND relkind IN ('r', 'p') LOOP
    EXECUTE format('ALTER TABLE %s DISABLE TRIGGER USER, NO FORCE ROW LEVEL SECURITY', t);
  END LOOP;
  FOR c IN SELECT * FROM pg_constraint WHERE connamespace = '{0}'::regnamespace AND contype = 'f' AND conparentid = 0 LOOP
    EXECUTE format('ALTER TABLE %s ALTER CONSTRAINT %I DEFERRABLE INITIALLY DEFERRED', c.conrelid::regclass, c.conname);
  END LOOP;
  FOR t IN SELECT oid FROM pg_class WHERE relnamespace = '{0}'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition LOOP
    EXECUTE format('TRUNCATE %s CASCADE', t);
  END LOOP;
END $$"""
"""Tables come in any order, as they were: no trigger counts or refuses, keys wait, and COPY is not one that row security refuses."""

TIGHTEN = """DO $$ DECLARE t record; c record; BEGIN
  SET CONSTRAINTS ALL IMMEDIATE;
  FOR c IN SELECT * FROM pg_constraint WHERE connamespace = '{0}'::regnamespace AND contype = 'f' AND conparentid = 0 LOOP
    EXECUTE format('ALTER TABLE %s ALTER CONSTRAINT %I NOT DEFERRABLE', c.conrelid::regclass, c.conname);
  END LOOP;
  FOR t IN SELECT oid::regclass AS name, relrowsecurity FROM pg_class
            WHERE relnamespace = '{0}'::regnamespace AND relkind IN ('r', 'p') LOOP
    EXECUTE format('ALTER TABLE %s ENABLE TRIGGER USER', t.name);
    IF t.relrowsecurity THEN
      EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', t.name);
    END IF;
  END LOOP;
END $$"""
"""All of that again."""


class CannotRestore(Exception):
    """Nothing was changed; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSchema:
    """The schema of a service in a database."""

    server: Server
    database: str
    service: str

    def back_up(self, file: Path) -> None:
        """Writes it to a new file, as of one moment; whoever works with it goes on. Raises CannotRestore."""
        if file.exists():
            raise CannotRestore(f"{file} is there already, and is not overwritten: choose another name")
        part = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            part.touch(mode=0o600)  # it holds what the database holds
            chosen = ("--format=custom", "--enable-row-security", f"--schema={self.service}", f"--file={part}")
            self._run(self._fitting, "pg_dump", *chosen, self._connected)
            part.rename(file)
        except OSError as error:
            raise CannotRestore(f"{file} cannot be written: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)

    def check(self, file: Path, *, data_only: bool, confirmed: bool) -> None:
        """Raises CannotRestore where the file is not whole, does not fit, or replaces what nobody has given up."""
        there, known = self._ask(THERE) == "t", migrate.head(self._migrations)
        revision, present = self._revision(file), self._ask(REVISION) if there else "none"
        if data_only and revision != present:
            raise CannotRestore(
                f"{file} has data of revision {revision}, the schema is at {present}: bring back both, without DATA_ONLY"
            )
        if revision > known:
            raise CannotRestore(f"{file} is of revision {revision}, and this code knows {known}: restore it with newer code")
        if there and not confirmed:
            raise CannotRestore(
                f"it would replace all that {self.service} has now: say CONFIRM=yes to have that (make backup keeps it)"
            )
        self._restored(os.devnull, file)  # read to its end: one that was cut is refused before anything is stopped for it

    def restore(self, file: Path, *, data_only: bool) -> None:
        """Brings it back, all of it or nothing. Raises CannotRestore, also while processes of the service are connected."""
        self._expect_alone()
        before, after = self._around(data_only=data_only)
        with TemporaryDirectory() as folder:
            script = Path(folder) / "restore.sql"
            self._restored(script, file, *(["--data-only"] if data_only else []))  # whole, before anything is touched
            self._psql(
                "--output=/dev/null", "--single-transaction", "--set=ON_ERROR_STOP=1",
                *(f"--command={statement}" for statement in before), f"--file={script}",
                *(f"--command={statement}" for statement in after),
            )  # fmt: skip

    async def migrate(self) -> None:
        """Brings a schema that was restored up to what this code knows."""
        await migrate.upgrade(self._url.render_as_string(hide_password=False), self.service, self._migrations)

    def _around(self, *, data_only: bool) -> tuple[list[str], list[str]]:
        """The statements before and after what is in the file."""
        if not data_only:
            return [migrate.drop_objects(self.service), f"DROP TABLE IF EXISTS {self.service}.alembic_version"], []
        forget = [feed.forget_epoch(self.service)]
        if self.service in FOLLOWERS:
            forget.append(inbox.forget_readiness(self.service))
        return [LOOSEN.format(self.service)], [*forget, TIGHTEN.format(self.service)]

    def _expect_alone(self) -> None:
        deadline = time.monotonic() + LEAVE_SECONDS
        while count := int(self._ask(CONNECTED)):
            if time.monotonic() > deadline:
                raise CannotRestore(f"{count} connections of {self.service}'s processes are open: stop all of them first")
            time.sleep(POLL_SECONDS)  # asked again: PostgreSQL tells nobody when a session ends

    def _revision(self, file: Path) -> str:
        """Of the schema that a file has."""
        lines = self._restored("-", file, "--table=alembic_version", "--data-only").splitlines()
        begins = [place for place, line in enumerate(lines) if line.startswith(f"COPY {self.service}.alembic_version ")]
        if not begins:
            raise CannotRestore(f"{file} is no backup of {self.service}: `make backup S={self.service} TO=...` makes one")
        return lines[begins[0] + 1]

    def _restored(self, to: Path | str, file: Path, *chosen: str) -> str:
        """The SQL that brings back what is in a file, or some of it."""
        return self._run(
            self._fitting, "pg_restore", "--enable-row-security", f"--schema={self.service}", *chosen, f"--file={to}", str(file)
        )

    def _psql(self, *arguments: str) -> str:
        return self._run(NEW, "psql", "--no-psqlrc", "--quiet", *arguments, self._connected)

    def _ask(self, statement: str) -> str:
        return self._psql("--tuples-only", "--no-align", f"--command={statement.format(self.service)}").strip()

    def _run(self, version: str, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(binaries(version) / program), *arguments],
            env={"PGPASSWORD": self._url.password or ""}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            why = done.stderr.strip()[-WHY_MAX:]
            raise CannotRestore(f"Nothing was changed, for {program} failed; mend what it says, and do it again:\n{why}")
        return done.stdout

    @property
    def _fitting(self) -> str:
        """The programs whose files and SQL the server reads."""
        return OLD if int(self._ask("SHOW server_version_num")) < OLD_BEFORE else NEW

    @property
    def _url(self) -> URL:
        return make_url(self.server.url(self.database, f"{self.service}_owner"))

    @property
    def _connected(self) -> str:
        """The database as its owner; without the password, which everybody could read in the list of processes."""
        return f"--dbname={self._url.set(password=None).render_as_string()}"

    @property
    def _migrations(self) -> Path:
        return ROOT / "services" / self.service / "migrations"
