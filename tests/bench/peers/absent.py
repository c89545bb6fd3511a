"""What a machine may lack, and who makes what it has not yet."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Absent(Exception):
    """A peer or a tool is not on this machine; the sentence says what is left out, and which package is missing."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Waits until no other process builds in a folder: the tests run in two, and both may need a peer."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
