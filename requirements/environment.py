"""Makes the virtual environment, with nothing but the Python that it is made of; and runs the unit tests on every other one.

environment.py            makes .venv, unless it is whole; of two at once, one waits until the other is done
environment.py --others   the unit tests, in environments below build/, on each supported Python on PATH that is not this one
"""

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUPPORTED = ((3, 11), (3, 12), (3, 13), (3, 14))
LOCK = Path("requirements/dev.lock")
WHOLE = "ready"
"""Is made last: an environment without it was broken off."""
PYTHONPATH = "services:libs:protos/python:deploy"
TESTS = ("-m", "not long", "tests/test_tidy.py", "tests/unit")


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Waits until nobody else makes the same."""
    path = Path("build") / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another make sets up the environment; waiting for it ...", flush=True)
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def make(into: Path, python: str) -> None:
    """Makes an environment with all that is locked, unless it is there. Raises CalledProcessError."""
    with alone(into.name.lstrip(".")):
        whole = into / WHOLE
        if whole.exists() and whole.stat().st_mtime >= LOCK.stat().st_mtime:
            return
        print(f"Setting up {into} ...", flush=True)
        shutil.rmtree(into, ignore_errors=True)
        if python == sys.executable:
            venv.create(into, with_pip=True, symlinks=True)
        else:
            subprocess.run([python, "-m", "venv", str(into)], check=True)
        install = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(LOCK)]
        subprocess.run([str(into / "bin" / "python"), *install], check=True)
        whole.touch()


def others() -> Iterator[tuple[str, str]]:
    """The supported Pythons on PATH that are not this one: version and command."""
    for version in SUPPORTED:
        name = "python{}.{}".format(*version)
        asked = [name, "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2])"]
        if version != sys.version_info[:2] and shutil.which(name):
            answer = subprocess.run(asked, capture_output=True, text=True, check=False)
            if answer.stdout.split() == [str(part) for part in version]:  # a shim may have nothing behind it
                yield "{}.{}".format(*version), name


def test(version: str, python: str) -> bool:
    """Whether the unit tests pass on another Python."""
    into = Path("build") / f"python-{version}"
    make(into, python)
    command, environ = str(into / "bin" / "python"), {**os.environ, "PYTHONPATH": PYTHONPATH, "PYTHONTZPATH": ""}
    print(f"The unit tests on Python {version}:", flush=True)
    steps = (["-m", "rowwire.build"], ["-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS])
    return all(subprocess.run([command, *step], env=environ, check=False).returncode == 0 for step in steps)


def main() -> int:
    """The exit code."""
    if "--others" not in sys.argv[1:]:
        make(Path(".venv"), sys.executable)
        return 0
    found = list(others())
    if not found:
        print("No other supported Python is on PATH; {} was tested.".format(".".join(map(str, sys.version_info[:2]))))
    failed = [version for version, python in found if not test(version, python)]
    if failed:
        print(f"The unit tests fail on Python {', '.join(failed)}.")
    return bool(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as failed:
        print(
            f"The environment could not be set up: {Path(failed.cmd[0]).name} failed with code {failed.returncode}, as said above."
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
