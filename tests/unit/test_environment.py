"""The virtual environment is made once, whoever asks at the same time, and again where it was broken off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.database import ROOT

STUB = """#!/bin/sh
echo "$2 $3" >> made.log
if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && sleep 0.5; fi
if [ "$2" = pip ] && [ -e fails ]; then exit 1; fi
exit 0
"""
MAKE = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import environment
environment.make(Path(sys.argv[2]), "./stub")
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with a lock file and a Python that only says what it was told."""
    folder = tmp_path / "a clone"
    (folder / "requirements").mkdir(parents=True)
    (folder / "requirements" / "dev.lock").touch()
    (folder / "stub").write_text(STUB)
    (folder / "stub").chmod(0o755)
    return folder


def started(clone: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAKE, str(ROOT / "requirements"), ".venv"]
    return subprocess.Popen(command, cwd=clone, stdout=subprocess.PIPE, text=True)


def code(clone: Path) -> int:
    alone = started(clone)
    alone.communicate(timeout=60)
    return alone.returncode


def made(clone: Path) -> list[str]:
    return (clone / "made.log").read_text().splitlines()


def test_of_two_at_once_one_makes_it_and_the_other_waits(clone: Path) -> None:
    both = [started(clone), started(clone)]
    said = [each.communicate(timeout=60)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0]
    assert made(clone) == ["venv .venv", "pip install"]
    assert sorted("waiting" in each for each in said) == [False, True]


def test_what_was_broken_off_is_made_again_and_what_is_whole_is_not(clone: Path) -> None:
    (clone / "fails").touch()
    assert code(clone) == 1
    (clone / "fails").unlink()
    for _ in range(2):
        assert code(clone) == 0
    assert made(clone) == ["venv .venv", "pip install"] * 2
    newer = (clone / ".venv" / "ready").stat().st_mtime + 10
    os.utime(clone / "requirements" / "dev.lock", (newer, newer))
    assert code(clone) == 0
    assert made(clone) == ["venv .venv", "pip install"] * 3
