"""Arbitrary plans and rows, under a fuzzer with address and undefined-behaviour sanitizers."""

import shutil
import subprocess
from pathlib import Path

import pytest

from local.database import ROOT
from tests.fuzz.corpus import FOLDER, seeds

FUZZ_SECONDS = 20
HARNESS = ROOT / "tests" / "fuzz" / "rowwire_fuzz.c"
FLAGS = ("-std=c11", "-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fuzzer, where clang has libFuzzer."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("there is no clang, whose fuzzer this is: Debian's packages clang and libclang-rt-dev have it")
    made = tmp_path_factory.mktemp("fuzzer") / "rowwire"
    empty = made.with_name("empty.c")
    empty.write_text("int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n ? 0 : 0; }\n")
    tried = subprocess.run([clang, FLAGS[3], str(empty), "-o", str(made)], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("this clang has no libFuzzer: Debian's package libclang-rt-dev has it")
    subprocess.run([clang, *FLAGS, str(HARNESS), "-o", str(made)], check=True)
    return made


def test_no_plan_and_no_rows_break_the_compiled_encoder(harness: Path, tmp_path: Path) -> None:
    found = tmp_path / "found"
    found.mkdir()
    command = [
        str(harness),
        f"-max_total_time={FUZZ_SECONDS}",
        "-timeout=10",
        f"-artifact_prefix={tmp_path}/",
        str(found),
        str(FOLDER),
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stderr[-4_000:]


def test_the_corpus_is_what_its_script_makes() -> None:
    assert {path.name: path.read_bytes() for path in FOLDER.iterdir()} == dict(seeds())
