"""Compiles the encoder: `python -m rowwire.build`. Where that cannot be, services encode in Python, and all works the same."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rowwire.loading import FLAGS, FOLDER, SOURCES, file_name, load

COMPILERS = ("cc", "gcc", "clang")
COMPILE_SECONDS_MAX = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What came of it."""

    path: Path | None
    """None where there is no library."""
    says: str
    failed: bool = False
    """Whether something is broken; a missing compiler or a folder that cannot be written to is not."""


def build(into: Path = FOLDER, compiler: str | None = None) -> Built:
    """Compiles the library into a folder, unless it is there; whoever looks meanwhile finds a whole one or none."""
    target = into / file_name()
    if target.exists():
        return Built(path=target, says=f"{target} is there already.")
    found = next((path for name in ([compiler] if compiler else COMPILERS) if (path := shutil.which(name))), None)
    if found is None:
        return Built(path=None, says=f"There is no C compiler ({compiler or ', '.join(COMPILERS)}): rows are encoded in Python.")
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".rowwire-", dir=into) as folder:
            return _compile(found, Path(folder) / target.name, target)
    except OSError as error:
        return Built(path=None, says=f"{into} cannot be written to ({error.strerror}): rows are encoded in Python.")


def _compile(compiler: str, made: Path, target: Path) -> Built:
    command = [compiler, *FLAGS, *map(str, SOURCES), "-o", str(made)]
    done = subprocess.run(  # noqa: S603  # the compiler that was asked for, on this repository's source
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=COMPILE_SECONDS_MAX,
        check=False,
    )
    if done.returncode:
        return Built(path=None, says=f"{compiler} failed:\n{done.stdout}", failed=True)
    loaded = load(made)
    if loaded.functions is None:
        return Built(path=None, says=loaded.says, failed=True)
    made.chmod(0o755)
    made.replace(target)
    return Built(path=target, says=f"{target} is made.")


def main(arguments: Sequence[str]) -> int:
    """Returns 1 where a compiler is there and fails, else 0."""
    parser = argparse.ArgumentParser(prog="python -m rowwire.build", description=__doc__)
    parser.add_argument("--cc", metavar="COMPILER", help=f"instead of the first of {', '.join(COMPILERS)} that there is")
    parser.add_argument(
        "--into", metavar="FOLDER", type=Path, default=FOLDER, help="instead of %(default)s, where services look for it"
    )
    asked = parser.parse_args(arguments)
    built = build(asked.into, asked.cc or None)
    (sys.stderr if built.failed else sys.stdout).write(f"{built.says}\n")
    return int(built.failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
