"""CPU time of processes, from /proc: wall time on a shared machine is noise.

The kernel counts in ticks of 10 ms, so a measurement lasts a second at least. The time of a child that has ended moves to its parent's
account once the parent has waited for it: both are counted, and each once.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
TIMES = slice(11, 15)
"""Of /proc/<pid>/stat, where the fields behind the command's name begin at 0: utime, stime, cutime, cstime."""

BUSY_SECONDS, BUSY_LIMIT_SECONDS, POLL_SECONDS = 0.05, 30, 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A process whose time is of interest, with all its descendants."""

    name: str
    pid: int

    def seconds(self) -> float:
        """Returns user and system time so far. It is read again where a descendant came or went meanwhile."""
        while True:
            before = _tree(self.pid)
            read = [_ticks(pid) for pid in before]
            if None not in read and _tree(self.pid) == before:
                return sum(each for each in read if each is not None) * TICK_SECONDS


@dataclass
class Spent:
    """What accounts took while something was measured; seconds by name."""

    seconds: dict[str, float]

    def micros(self, name: str, operations: float) -> float:
        """Returns microseconds for each operation."""
        return self.seconds[name] / operations * 1e6 if operations else float("nan")


@contextmanager
def spent(*accounts: Account) -> Iterator[Spent]:
    """Measures what is done inside; the result is complete at the end."""
    result = Spent({})
    begun = {each.name: each.seconds() for each in accounts}
    yield result
    result.seconds.update({each.name: each.seconds() - begun[each.name] for each in accounts})


async def busy(account: Account, since: float) -> None:
    """Returns when a process has taken some time more than that: it does what it was asked to. Raises TimeoutError."""
    async with asyncio.timeout(BUSY_LIMIT_SECONDS):
        while account.seconds() < since + BUSY_SECONDS:
            await asyncio.sleep(POLL_SECONDS)


async def postgres(url: str, name: str = "postgres") -> Account:
    """Returns the account of the server that a database is on: the postmaster and all its backends. The server is on this machine."""
    connection = await asyncpg.connect(url)
    try:
        return Account(name=name, pid=psutil.Process(connection.get_server_pid()).ppid())
    finally:
        await connection.close()


def _tree(root: int) -> set[int]:
    try:
        return {root, *(child.pid for child in psutil.Process(root).children(recursive=True))}
    except psutil.NoSuchProcess as error:
        raise ProcessLookupError(f"process {root} has ended") from error


def _ticks(pid: int) -> int | None:
    """Returns None where the process has ended."""
    try:
        _, _, fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return sum(map(int, fields.split()[TIMES]))
