"""A streaming standby of a cluster, that is cut off from it, and takes over."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from local.database import Server
from local.postgres import SUPERUSER, Postgres, binaries, data_folder, private_folder
from tests.integration.moving import until

THROUGH = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"


@dataclass(frozen=True)
class Standby:
    """It follows its primary, until it is cut off."""

    primary: Server
    server: Server

    async def cut_off(self) -> None:
        """Returns when it has all that was committed so far, and gets nothing any more."""
        primary, standby = await asyncpg.connect(self.primary.admin_url), await asyncpg.connect(self.server.admin_url)
        await primary.execute("SET synchronous_commit = on")  # a commit that waits for the disk takes all before it along
        committed = await primary.fetchval("SELECT pg_logical_emit_message(true, 'teppan', 'so far')::text")
        await until(lambda: standby.fetchval(THROUGH, committed))
        await standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
        await standby.execute("SELECT pg_reload_conf()")
        await until(lambda: standby.fetchval("SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)"))
        await primary.close()
        await standby.close()

    async def promote(self) -> None:
        """It is a primary from now on, on a timeline of its own."""
        standby = await asyncpg.connect(self.server.admin_url)
        assert await standby.fetchval("SELECT pg_promote()")
        await standby.close()


@contextmanager
def standby_of(primary: Postgres) -> Iterator[Standby]:
    """A standby that streams; nothing of it stays."""
    folder, run = Path(tempfile.mkdtemp(prefix="teppan-test-")), private_folder("teppan-")
    standby = Postgres(data=data_folder(folder / "data"), run=run, version=primary.version, durable=False)
    copy = [
        str(binaries(primary.version) / "pg_basebackup"), "--pgdata", str(standby.data), "--host", str(primary.run),
        "--username", SUPERUSER, "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
    ]  # fmt: skip
    subprocess.run(copy, **standby._child(), check=True)
    child = standby.start(folder / "postgres.log")
    try:
        yield Standby(Server(admin_url=primary.url()), Server(admin_url=standby.url()))
    finally:
        standby.stop(child)
        for each in (standby.data, run, folder):
            shutil.rmtree(each, ignore_errors=True)
