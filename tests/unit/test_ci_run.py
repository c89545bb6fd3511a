"""What CI runs, and what it does where there is no Docker engine."""

import shutil
import subprocess
from pathlib import Path

import pytest

from local.database import ROOT

TOLD = '#!/bin/sh\necho "$(basename "$0") $* IMAGES=$IMAGES"\n'
FAILS = "#!/bin/sh\nexit 1\n"
ENGINE = "python postgres envoy prometheus"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with `.ci/run`, and beside it commands that say what they were told."""
    folder = tmp_path / "a clone"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    for name in ("make", "containers.sh"):
        command(folder / "bin" / name, TOLD)
    command(folder / "bin" / "docker", FAILS)
    return folder


def command(path: Path, program: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(program)
    path.chmod(0o755)


def run(clone: Path, **environ: str) -> tuple[int, list[str]]:
    """Its exit code, and what it printed."""
    path = f"{clone / 'bin'}:/usr/bin:/bin"
    done = subprocess.run(
        [clone / ".ci" / "run"], env={"PATH": path, **environ}, capture_output=True, text=True, check=False, cwd="/"
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_an_engine_that_is_there_is_used(clone: Path) -> None:
    command(clone / "bin" / "docker", TOLD)
    assert run(clone) == (0, ["make test IMAGES=", "make test-pythons IMAGES=", "make test-compose IMAGES="])


def test_else_the_command_that_starts_one(clone: Path) -> None:
    ran = run(clone, TEPPAN_CONTAINERS=str(clone / "bin" / "containers.sh"))
    assert ran == (0, ["make test IMAGES=", "make test-pythons IMAGES=", f"containers.sh run make test-compose IMAGES={ENGINE}"])


def test_without_both_it_says_so_and_goes_on(clone: Path) -> None:
    assert run(clone) == (0, ["make test IMAGES=", "make test-pythons IMAGES=", "SKIPPED test-compose: no engine"])


def test_a_command_that_cannot_be_run_is_not_skipped(clone: Path) -> None:
    code, lines = run(clone, TEPPAN_CONTAINERS="/nowhere")
    assert code
    assert lines[-1] == "TEPPAN_CONTAINERS is no command that can be run: /nowhere"


@pytest.mark.parametrize("broken", ["make", "containers.sh"])
def test_what_fails_fails_it(clone: Path, broken: str) -> None:
    command(clone / "bin" / broken, FAILS)
    code, _ = run(clone, TEPPAN_CONTAINERS=str(clone / "bin" / "containers.sh"))
    assert code == 1
