"""Arbitrary plans and rows, and arbitrary servers, under a fuzzer with address and undefined-behaviour sanitizers."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from local.database import ROOT
from tests.fuzz.corpus import FOLDER, seeds
from tests.unit.test_rowwire_copying import ERROR, NOTICE, READY, message, sent

FUZZ_SECONDS, COPYING_SECONDS = 20, 5
HARNESSES = ROOT / "tests" / "fuzz"
FLAGS = ("-std=c11", "-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds a fuzzer, where clang has libFuzzer."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("there is no clang, whose fuzzer this is: Debian's packages clang and libclang-rt-dev have it")
    folder = tmp_path_factory.mktemp("fuzzers")
    empty = folder / "empty.c"
    empty.write_text("int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n ? 0 : 0; }\n")
    tried = subprocess.run([clang, FLAGS[3], str(empty), "-o", str(folder / "empty")], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("this clang has no libFuzzer: Debian's package libclang-rt-dev has it")

    def build(name: str) -> Path:
        subprocess.run([clang, *FLAGS, str(HARNESSES / f"{name}_fuzz.c"), "-o", str(folder / name)], check=True)
        return folder / name

    return build


def fuzz(harness: Path, seconds: int, folder: Path, *corpora: Path) -> None:
    found = folder / "found"
    found.mkdir()
    command = [
        str(harness),
        f"-max_total_time={seconds}",
        "-timeout=10",
        f"-artifact_prefix={folder}/",
        *map(str, (found, *corpora)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stderr[-4_000:]


def test_no_plan_and_no_rows_break_the_compiled_encoder(build: Callable[[str], Path], tmp_path: Path) -> None:
    fuzz(build("rowwire"), FUZZ_SECONDS, tmp_path, FOLDER)


def test_no_server_breaks_the_reader_of_copy(build: Callable[[str], Path], tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "two").write_bytes(sent([b"one", b"two" * 100]))
    (rows / "error").write_bytes(NOTICE + message(ERROR, b"E") + READY)
    fuzz(build("copying"), COPYING_SECONDS, tmp_path, rows)


def test_the_corpus_is_what_its_script_makes() -> None:
    assert {path.name: path.read_bytes() for path in FOLDER.iterdir()} == dict(seeds())
