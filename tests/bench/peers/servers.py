"""Starts the peers: each a process of its own on loopback, that ends with whoever started it.

FastAPI stands in a virtual environment of its own, which `install_fastapi` makes from a hashed lock below build/bench.
"""

import asyncio
import hashlib
import os
import subprocess
import sys
import venv
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from local.database import ROOT, SERVICES
from local.ports import free_ports
from local.postgres import dies_with_its_parent
from local.stack import environment, health
from tests.bench.peers.absent import Absent, alone
from tests.bench.peers.golang import Programs

POOL = 16
START_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05
INSTALL_SECONDS = 600
VENV = ROOT / "build" / "bench" / "venv"
LOCK = ROOT / "requirements" / "bench.lock"
FASTAPI = Path(__file__).parent / "fastapi_peer"
PATHS = ("services", "libs", "protos/python", "deploy", ".")


class CannotStart(Exception):
    """A peer does not start; the message has what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A peer that takes connections."""

    address: str
    pid: int


@asynccontextmanager
async def go(programs: Programs, database: str, *, checked_by: Path | None = None, pool: int = POOL) -> AsyncIterator[Running]:
    """Runs the Go server. `checked_by` is the JWKS or PEM file of the key that tokens are verified with; without, it checks nothing.

    `database` is for bookings_app with checks, and for a role that sees all rows without.
    """
    [port] = free_ports(1)
    checks = [] if checked_by is None else ["-checked", "-key", str(checked_by)]
    command = [str(programs.server), "-listen", f"127.0.0.1:{port}", "-database", database, "-pool", str(pool), *checks]
    async with _process("the Go server", command, port) as running:
        yield running


@asynccontextmanager
async def bare(*, answer_bytes: int = 2) -> AsyncIterator[Running]:
    """Runs the bare grpc.aio server with this environment's interpreter."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "tests.bench.peers.bare", "--listen", f"127.0.0.1:{port}", "--bytes", str(answer_bytes)]
    paths = os.pathsep.join(str(ROOT / path) for path in PATHS)
    async with _process("the bare grpc.aio server", command, port, {"PYTHONPATH": paths}) as running:
        yield running


@asynccontextmanager
async def fastapi(python: Path, database: str, *, pool: int = POOL) -> AsyncIterator[Running]:
    """Runs the FastAPI peer in one process; `python` is what `install_fastapi` returned, `database` for a role that sees all rows."""
    [port] = free_ports(1)
    command = [
        str(python), "-m", "uvicorn", "--app-dir", str(FASTAPI), "app:app", "--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop",
        "--http", "httptools", "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    environ = {"DATABASE_URL": database.replace("postgresql://", "postgresql+asyncpg://", 1), "POOL": str(pool), "PYTHONPATH": ""}
    async with _process("the FastAPI peer", command, port, environ) as running:
        yield running


@asynccontextmanager
async def teppan(
    what: str, urls: Mapping[str, str], *, jwks: Path, secrets: Path, python_path: bool = False
) -> AsyncIterator[Running]:  # fmt: skip
    """Runs Teppan: `bookings`, or `empty`, its call layer before a method that does nothing. `urls` are the roles' of bookings."""
    ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
    [metrics] = free_ports(1)
    environ = environment("bookings", ports=ports, metrics=metrics, urls=urls, secrets=secrets)
    paths = os.pathsep.join(str(ROOT / path) for path in PATHS)
    lists = {"TEPPAN_LIST_PATH": "python"} if python_path else {}
    log = ROOT / "build" / "bench" / f"teppan-{what}.calls.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "tests.bench.serving", what, "--jwks", str(jwks), "--listen", f"127.0.0.1:{ports['bookings']}", "--log", str(log),
    ]  # fmt: skip
    async with _process(f"teppan {what}", command, ports["bookings"], {**environ, **lists, "PYTHONPATH": paths}) as running:
        await _serves(running, log)
        yield running


def install_fastapi() -> Path:
    """Returns the interpreter of the environment in build/bench/venv; makes it where it is not of the present lock. Raises Absent."""
    with alone(VENV.parent):
        return _installed()


def _installed() -> Path:
    python, made_of = VENV / "bin" / "python", VENV / "made-of"
    wanted = f"{sys.version_info[:2]} {hashlib.sha256(LOCK.read_bytes()).hexdigest()}"
    if made_of.exists() and made_of.read_text() == wanted:
        return python
    venv.create(VENV, clear=True, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", str(LOCK)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode:
        raise Absent(f"The FastAPI peer is left out: its packages cannot be installed ({done.stderr.strip()[-300:]}).")
    made_of.write_text(wanted)
    return python


@asynccontextmanager
async def _process(
    name: str, command: Sequence[str], port: int, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    log = ROOT / "build" / "bench" / f"{name.replace(' ', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        child = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=output, env={**os.environ, **(environ or {})}, preexec_fn=dies_with_its_parent
        )
    try:
        await _listens(name, child, port, log)
        yield Running(address=f"127.0.0.1:{port}", pid=child.pid)
    finally:
        await _stop(child)


async def _listens(name: str, child: asyncio.subprocess.Process, port: int, log: Path) -> None:
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if child.returncode is not None or asyncio.get_running_loop().time() > deadline:
                raise CannotStart(f"{name} does not start: {_end(log)}") from None
            await asyncio.sleep(POLL_SECONDS)
        else:
            writer.close()
            await writer.wait_closed()
            return


async def _serves(running: Running, log: Path) -> None:
    """Returns when its health says so: before, calls are refused for what has not been heard of identity yet."""
    try:
        async with asyncio.timeout(START_SECONDS):
            while await health(running.address) != "SERVING":
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise CannotStart(f"{running.address} does not serve: {_end(log)}") from None


def _end(log: Path) -> str:
    return log.read_text()[-2000:]


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()
