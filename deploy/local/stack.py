"""The stack: which processes there are, what each is told, in which order they start, and whether they serve."""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from local import secret
from local.database import ROOT, SERVICES, Server
from local.ports import PORTS, free_ports, metrics_ports, refuse_shared, refuse_taken
from local.postgres import Postgres, data_folder, private_folder
from local.supervise import NotRunning, Program, Supervisor

DATABASE = "teppan"
FOLDER = Path(os.environ.get("TEPPAN_STACK_FOLDER") or ROOT / "build" / "stack")
"""Where a stack keeps its data, logs and secrets: one clone may have several."""
NO_PROXY = (("grpc.enable_http_proxy", 0),)
"""What is on this machine is called directly, whatever proxy the environment names."""
SERVE_SECONDS = 60.0
POLL_SECONDS = 0.1
PYTHONPATH = "services:libs:protos/python"
"""Relative to the repository, where the processes run: a path may hold colons."""


class StackFails(Exception):
    """The stack does not come up; the message says what does not, and what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How one process of a stack is."""

    name: str
    said: str
    """SERVING, NOT_SERVING, or why it cannot be asked; of Postgres, what its supervisor says."""
    healthy: bool
    pid: int
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A running stack, as `stack.json` describes it."""

    folder: Path
    run: Path
    ports: Mapping[str, int]
    metrics: Mapping[str, int]
    admin_url: str
    embedded: bool
    version: str
    database: str

    @property
    def supervisor(self) -> Supervisor:
        """What keeps its processes running."""
        return Supervisor(self.folder, self.run, ROOT)

    @property
    def server(self) -> Server:
        """Its database server."""
        return Server(admin_url=self.admin_url)

    @property
    def postgres(self) -> Postgres:
        """The embedded server."""
        return Postgres(data=data_folder(self.folder / "data"), run=self.run, version=self.version)

    def address(self, service: str) -> str:
        """Where a service listens: `host:port`."""
        return f"127.0.0.1:{self.ports[service]}"

    def environ(self, service: str) -> dict[str, str]:
        """What a service of this stack is told."""
        return environment(
            service,
            ports=self.ports,
            metrics=self.metrics[service],
            urls=self.server.roles(service, self.database),
            secrets=self.folder / "secrets",
        )

    def save(self) -> None:
        """Remembers it for the next command."""
        path = self.folder / "stack.state.json"
        path.touch(mode=0o600)  # the URL may hold a password
        path.write_text(json.dumps(asdict(self), default=str))


def environment(service: str, *, ports: Mapping[str, int], metrics: int, urls: Mapping[str, str], secrets: Path) -> dict[str, str]:
    """The variables of a service on this machine."""
    return {
        "TEPPAN_LISTEN": f"127.0.0.1:{ports[service]}",
        "TEPPAN_METRICS_LISTEN": f"127.0.0.1:{metrics}",
        "TEPPAN_DATABASE_APP_URL": urls["app"],
        "TEPPAN_DATABASE_PLATFORM_URL": urls["platform"],
        "TEPPAN_SERVICE_KEY_FILE": str(secrets / f"{service}.pem"),
        "TEPPAN_SERVICE_JWKS_FILE": str(secrets / "services.jwks.json"),
        "TEPPAN_TOKEN_KEY_FILE": str(secrets / f"{service}.token.key"),
        "TEPPAN_KEYRING_FILE": str(secrets / f"{service}.keyring.json"),
        "TEPPAN_SIGNING_KEYS_FILE": str(secrets / "signing.pem"),
        "PYTHONTZPATH": "",  # the zones of the pinned tzdata, and not the machine's
        "TEPPAN_DRAIN_SECONDS": "0",  # nobody balances load here
        **{f"TEPPAN_{peer.upper()}_ADDRESS": f"127.0.0.1:{ports[peer]}" for peer in SERVICES if peer != service},
    }


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Holds a lock file meanwhile: two commands at once would pull the same folder from under each other. Raises StackFails."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StackFails(f"another command is at it ({lock} is locked): wait until it is done") from error
        yield


def load(folder: Path) -> Stack:
    """The stack that was started in a folder; raises NotRunning."""
    try:
        state = json.loads((folder / "stack.state.json").read_text())
    except FileNotFoundError as error:
        raise NotRunning("nothing runs here: start it with `make up`") from error
    return Stack(**{**state, "folder": Path(state["folder"]), "run": Path(state["run"])})


def start(stack: Stack, *, tied: bool) -> None:
    """Brings everything up, and returns when it serves. Raises StackFails, CannotStart; the caller stops what is up by then."""
    refuse_taken(stack.ports, stack.metrics)
    secret.make(stack.folder / "secrets", SERVICES)
    stack.save()
    programs = [
        Program(name=service, command=[sys.executable, "-m", service], environ={"PYTHONPATH": PYTHONPATH, **stack.environ(service)})
        for service in SERVICES
    ]
    if stack.embedded:
        stack.postgres.initialise()
        server = Program(
            name="postgres", command=stack.postgres.command(), unprivileged=True, stop_signal="INT", waits=False
        )  # fmt: skip
        programs.insert(0, server)
    stack.supervisor.start(programs, tied=tied)
    if stack.embedded:
        stack.postgres.wait(
            lambda: all(status.running for status in stack.supervisor.status() if status.name == "postgres"),
            stack.supervisor.log("postgres"),
        )
    asyncio.run(_migrated(stack))
    for service in SERVICES:
        stack.supervisor.run(service)
    asyncio.run(serving(stack))


def stop(stack: Stack) -> None:
    """Ends everything; data stay. Not to be interrupted: a second Ctrl-C would leave half of it running."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stack.supervisor.shut_down()
    finally:
        signal.signal(signal.SIGINT, before)
    shutil.rmtree(stack.run, ignore_errors=True)
    for name in ("stack.state.json", "stack.json"):
        (stack.folder / name).unlink(missing_ok=True)


def fresh(
    folder: Path,
    *,
    version: str,
    admin_url: str = "",
    ports: Mapping[str, int] = PORTS,
    database: str = DATABASE,
) -> Stack:
    """A stack to be started in a folder; port 0 means any that is free. Raises BadPorts."""
    metrics = metrics_ports(ports)
    refuse_shared(ports, metrics)
    folder.mkdir(parents=True, exist_ok=True)
    run = private_folder("teppan-")
    free = iter(free_ports(2 * len(SERVICES)))
    server = Postgres(data=data_folder(folder / "data"), run=run, version=version)
    return Stack(
        folder=folder.resolve(),
        run=run,
        ports={service: port or next(free) for service, port in ports.items()},
        metrics={service: port or next(free) for service, port in metrics.items()},
        admin_url=admin_url or server.url(),
        embedded=not admin_url,
        version=version,
        database=database,
    )


def states(stack: Stack) -> list[State]:
    """How everything is, as it says itself. Raises NotRunning."""
    if orphans := stack.supervisor.orphans():
        those = ", ".join(map(str, orphans))
        raise NotRunning(f"the supervisor is gone, and nobody restarts what runs on: {those}. `make down` ends it, `make up` too")
    found = []
    for status in stack.supervisor.status():
        asked = status.running and status.name in SERVICES
        said = asyncio.run(health(stack.address(status.name))) if asked else status.state
        address = stack.address(status.name) if status.name in SERVICES else ""
        found.append(State(name=status.name, said=said, healthy=said in {"SERVING", "RUNNING"}, pid=status.pid, address=address))
    return found


async def serving(stack: Stack) -> None:
    """Returns when every service says SERVING; raises StackFails with the end of the log of one that does not."""
    await asyncio.gather(*(_serves(stack, service) for service in SERVICES))


async def health(address: str, timeout: float = 2.0) -> str:
    """What a service says of itself: SERVING, NOT_SERVING, or the code of the failure to ask it."""
    async with grpc.aio.insecure_channel(address, options=NO_PROXY) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def _serves(stack: Stack, service: str) -> None:
    deadline = asyncio.get_running_loop().time() + SERVE_SECONDS
    while (said := await health(stack.address(service))) != "SERVING":
        status = stack.supervisor.status_of(service)
        if status.failed or asyncio.get_running_loop().time() > deadline:
            log = stack.supervisor.log(service)
            raise StackFails(f"{service} does not serve ({said}); the end of {log}:\n{log.read_text()[-2000:]}")
        await asyncio.sleep(POLL_SECONDS)


async def _migrated(stack: Stack) -> None:
    await stack.server.prepare(stack.database)
    await stack.server.migrate(stack.database)
