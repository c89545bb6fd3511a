"""Processes that are kept running: supervisord, in a session of its own, spoken to over its XML-RPC socket.

A process that ends is started again at once; one that ends with code 2 refuses, and one that never gets through its first
second fails: both stay down. What outlives supervisord itself is found and ended too (`orphans`).
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from local import orphans
from local.orphans import Orphan
from local.postgres import UNPRIVILEGED, as_root, dies_with_its_parent

START_SECONDS = 20.0
STOP_SECONDS = 150.0
"""More than four processes take that each have 30 s to stop."""
KILLED_SECONDS = 5.0
POLL_SECONDS = 0.05
LOG_BYTES_MAX = 50_000_000
START_RETRIES = 2
REFUSED = 2
"""The exit code of a service that refuses to start: nothing gets better by starting it again."""
UNREACHABLE = (OSError, xmlrpc.client.Error)


class NotRunning(Exception):
    """There is no supervisor to speak to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A process to keep running."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    unprivileged: bool = False
    """Runs as `nobody` where this user is root."""
    stop_signal: str = "TERM"
    waits: bool = True
    """Is started when asked to, and not with the supervisor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a process is."""

    name: str
    state: str
    pid: int
    running: bool
    failed: bool
    """It refused to start, or ended too often at once: it is not started again."""


class Supervisor:
    """One supervisord, its files in `folder`, its socket in `run`."""

    def __init__(self, folder: Path, run: Path, root: Path) -> None:
        """Starts nothing yet. Processes run in `root`."""
        self._folder = folder
        self._socket = run / "supervisor.sock"
        self._root = root

    def log(self, name: str) -> Path:
        """What a process wrote."""
        return self._folder / f"{name}.log"

    def start(self, programs: Sequence[Program], *, tied: bool) -> None:
        """Starts the supervisor and the programs that wait for nothing; `tied`: it all ends when this process does."""
        config = self._folder / "supervisord.conf"
        config.write_text(self._config(programs))
        config.chmod(0o600)
        with self.log("supervisor").open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "--nodaemon", "--configuration", str(config)],
                cwd=self._root, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                preexec_fn=dies_with_its_parent if tied else None,
            )  # fmt: skip
        threading.Thread(target=child.wait, daemon=True, name="reaps supervisord").start()
        deadline = time.monotonic() + START_SECONDS
        while not self.reachable():
            if child.poll() is not None or time.monotonic() > deadline:
                raise NotRunning(f"supervisord does not start: {self.log('supervisor').read_text()[-2000:]}")
            time.sleep(POLL_SECONDS)

    def reachable(self) -> bool:
        """Whether the supervisor answers."""
        try:
            return bool(self._call("supervisor.getState"))
        except NotRunning:
            return False

    def run(self, name: str) -> None:
        """Starts a program that waits."""
        self._call("supervisor.startProcess", name, False)  # without waiting

    def halt(self, name: str) -> None:
        """Stops a program, and leaves it stopped."""
        self._call("supervisor.stopProcess", name)

    def status(self) -> list[Status]:
        """How everything is."""
        return [
            Status(
                name=info["name"],
                state=info["statename"],
                pid=info["pid"],
                running=info["statename"] in {"STARTING", "RUNNING"},
                failed=info["statename"] in {"EXITED", "FATAL"},
            )
            for info in self._call("supervisor.getAllProcessInfo")
        ]

    def status_of(self, name: str) -> Status:
        """How one is."""
        return next(status for status in self.status() if status.name == name)

    def shut_down(self) -> None:
        """Stops everything, the last started first, then the supervisor; returns when all of it is gone. Raises StillRuns."""
        with contextlib.suppress(NotRunning):
            pid = int(self._call("supervisor.getPID"))
            self._call("supervisor.shutdown")
            if not _gone(pid, STOP_SECONDS):
                os.kill(pid, signal.SIGKILL)
                _gone(pid, KILLED_SECONDS)
        orphans.end(orphans.orphans_of(self._socket))

    def orphans(self) -> list[Orphan]:
        """What runs though the supervisor was killed."""
        return [] if self.reachable() else orphans.orphans_of(self._socket)

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport("", "", serverurl=f"unix://{self._socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy, method)(*arguments)
        except UNREACHABLE as error:
            raise NotRunning(f"the supervisor does not answer: {error}") from error
        finally:
            transport.close()

    def _config(self, programs: Sequence[Program]) -> str:
        sections: dict[str, Mapping[str, object]] = {
            "unix_http_server": {"file": self._socket, "chmod": "0700"},
            "supervisord": {
                "nodaemon": "true", "logfile": "/dev/null", "logfile_maxbytes": 0, "pidfile": self._folder / "supervisord.pid",
                "childlogdir": self._folder, **({"user": "root"} if as_root() else {}),
            },
            "rpcinterface:supervisor": {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
            **{f"program:{program.name}": self._program(program, place) for place, program in enumerate(programs)},
        }  # fmt: skip
        return "\n".join(
            f"[{title}]\n" + "".join(f"{k}={_literal(v)}\n" for k, v in items.items()) for title, items in sections.items()
        )

    def _program(self, program: Program, place: int) -> dict[str, object]:
        return {
            "command": shlex.join(program.command),
            # Another user may not be able to enter the clone; the folder of the sockets is theirs.
            "directory": self._socket.parent if program.unprivileged else self._root,
            "environment": ",".join(f'{name}="{value}"' for name, value in program.environ.items()),
            "priority": place,
            "autostart": "false" if program.waits else "true",
            "autorestart": "unexpected",
            "exitcodes": REFUSED,
            "startsecs": 1,
            "startretries": START_RETRIES,
            "stopsignal": program.stop_signal,
            "stopwaitsecs": 30,
            "redirect_stderr": "true",
            "stdout_logfile": self.log(program.name),
            "stdout_logfile_maxbytes": LOG_BYTES_MAX,
            "stdout_logfile_backups": 1,
            **({"user": UNPRIVILEGED} if program.unprivileged and as_root() else {}),
        }


def _literal(value: object) -> str:
    return str(value).replace("%", "%%")


def _gone(pid: int, seconds: float) -> bool:
    """Waits until a process is gone, or is only still to be reaped by its parent."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
    return True
