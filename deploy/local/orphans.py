"""What a supervisor that was killed has left running: found by the environment that it gave them, and ended.

A `psutil.Process` is a PID with its start time, so no signal ever meets another process that was given the PID since.
"""

import contextlib
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

STOP_SECONDS = 30.0
KILLED_SECONDS = 5.0
DATABASE = "postgres"
"""Ends last, and by SIGINT, which for PostgreSQL means at once and in order."""


class StillRuns(Exception):
    """Something cannot be ended; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A process that runs without its supervisor."""

    name: str
    process: psutil.Process

    def __str__(self) -> str:
        """As people are told of it."""
        return f"{self.name} (pid {self.process.pid})"


def orphans_of(socket: Path) -> list[Orphan]:
    """What the supervisor with that socket has started, as long as it runs; without what was started by these."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # it has ended meanwhile, or is somebody else's
            environ = process.environ()
            if environ.get("SUPERVISOR_SERVER_URL") == f"unix://{socket}" and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = (process.ppid(), Orphan(name=environ["SUPERVISOR_PROCESS_NAME"], process=process))
    return [orphan for parent, orphan in found.values() if parent not in found]


def end(orphans: Sequence[Orphan]) -> None:
    """Ends the services, then the database; whoever does not end when asked to is killed. Raises StillRuns."""
    for last in (False, True):
        those = [each.process for each in orphans if (each.name == DATABASE) is last]
        for process in those:
            _send(process, signal.SIGINT if last else signal.SIGTERM)
        for process in psutil.wait_procs(those, STOP_SECONDS)[1]:
            _send(process, signal.SIGKILL)
    _, alive = psutil.wait_procs([each.process for each in orphans], KILLED_SECONDS)
    if alive:
        raise StillRuns("cannot be ended: " + ", ".join(str(each) for each in orphans if each.process in alive))


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
