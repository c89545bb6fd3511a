"""The compiled encoder is built where it can be, and loaded where it is of today's source."""

import subprocess
import sys
from pathlib import Path

import pytest

from local.database import ROOT
from rowwire import Loaded, build, load_built, loading


def failing(folder: Path) -> str:
    """A compiler that fails, and says so."""
    path = folder / "failing cc"
    path.write_text("#!/bin/sh\necho 'sorry: no' >&2\nexit 3\n")
    path.chmod(0o755)
    return str(path)


def test_it_is_built_once_and_loaded(compiled_library: Loaded, tmp_path: Path) -> None:
    folder = tmp_path / "a folder" / "with spaces"
    assert build.build(folder).says == f"{folder / loading.file_name()} is made."
    assert [path.name for path in folder.iterdir()] == [loading.file_name()]
    assert build.build(folder).says == f"{folder / loading.file_name()} is there already."
    found = load_built(folder)
    assert found.says == f"rows are encoded by {folder / loading.file_name()}"
    assert found.functions is not None


def test_warnings_are_mended(compiled_library: Loaded, tmp_path: Path) -> None:
    command = ["cc", *loading.FLAGS, "-Werror", *map(str, loading.SOURCES), "-o", str(tmp_path / "library")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_builds_in_a_folder(compiled_library: Loaded, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "rowwire.build", "--cc", "cc", "--into", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": "libs", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / loading.file_name()} is made.\n", "")


def test_without_a_compiler_a_sentence_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["--cc", "no-such-compiler", "--into", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "There is no C compiler (no-such-compiler): rows are encoded in Python.\n"
    assert not list(tmp_path.iterdir())


def test_a_compiler_that_fails_is_heard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["--cc", failing(tmp_path), "--into", str(tmp_path / "lib")]) == 1
    assert "failed:\nsorry: no" in capsys.readouterr().err
    assert not list((tmp_path / "lib").iterdir())


def test_a_folder_that_cannot_be_written_to_does_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert build.main(["--cc", failing(tmp_path), "--into", str(tmp_path / "file" / "lib")]) == 0
    assert "cannot be written to (Not a directory): rows are encoded in Python." in capsys.readouterr().out


def test_without_the_library_rows_are_encoded_in_python(tmp_path: Path) -> None:
    found = load_built(tmp_path)
    assert (
        found.says
        == f"rows are encoded in Python: there is no {tmp_path / loading.file_name()}, which python -m rowwire.build makes"
    )
    assert found.functions is None


def test_a_library_of_another_source_is_not_loaded(
    compiled_library: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    build.build(tmp_path)
    other = tmp_path / "rowwire.c"
    other.write_text(f"{loading.SOURCES[0].read_text()}\n")
    monkeypatch.setattr(loading, "READ", (other, *loading.READ[1:]))
    assert load_built(tmp_path).functions is None


def test_a_file_that_is_no_library_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / loading.file_name()).write_text("not a library")
    found = load_built(tmp_path)
    assert found.functions is None
    assert "cannot be loaded" in found.says


def test_a_library_of_another_version_is_not_loaded(
    compiled_library: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.build(tmp_path)
    monkeypatch.setattr(loading, "ABI", 2)
    assert load_built(tmp_path).says.endswith("is of version 1, not 2")
