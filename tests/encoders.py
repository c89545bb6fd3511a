"""Fixtures: the encoder of `rowwire`, and the one that it is compared with."""

import shutil
from collections.abc import Callable

import pytest

from rowwire import CompiledEncoder, CopyReader, Encoder, Loaded, Plan, build, load_built
from tests.rowwire_reference import ReferenceEncoder


@pytest.fixture(scope="session")
def compiled_library(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """The compiled encoder of this source, in a folder of its own; without a compiler its tests are skipped."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler (cc), so no compiled encoder either: Debian's package gcc has one")
    folder = tmp_path_factory.mktemp("a library")
    built = build.build(folder)
    assert built.path is not None, built.says
    return load_built(folder)


@pytest.fixture(scope="session", params=["read in C", "read by asyncpg"])
def reader(request: pytest.FixtureRequest) -> CopyReader | None:
    """What a COPY is read by: once in C, once by asyncpg."""
    if request.param == "read by asyncpg":
        return None
    return copy_reader(request.getfixturevalue("compiled_library"))


@pytest.fixture(scope="session", params=["compiled", "reference"])
def make_encoder(request: pytest.FixtureRequest) -> Callable[[Plan], Encoder]:
    """Makes an encoder: once the compiled one, once the reference."""
    if request.param == "reference":
        return ReferenceEncoder
    found: Loaded = request.getfixturevalue("compiled_library")
    return lambda plan: compiled(plan, found)


def copy_reader(found: Loaded) -> CopyReader:
    """Returns the reader in C, which is there."""
    assert found.functions is not None, found.says
    return CopyReader(found.functions)


def compiled(plan: Plan, found: Loaded) -> CompiledEncoder:
    """Returns the compiled encoder, which is there."""
    assert found.functions is not None, found.says
    return CompiledEncoder(plan, found.functions)
