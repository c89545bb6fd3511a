"""Fixtures: the two encoders of `rowwire`."""

import shutil
from collections.abc import Callable

import pytest

from rowwire import Encoder, Library, Plan, PureEncoder, build, encoder, library


@pytest.fixture(scope="session")
def compiled_library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The compiled encoder of this source, in a folder of its own; without a compiler its tests are skipped."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler (cc)")
    folder = tmp_path_factory.mktemp("a library")
    built = build.build(folder)
    assert built.path is not None, built.says
    return library.find_library(folder)


@pytest.fixture(scope="session", params=["compiled", "python"])
def make_encoder(request: pytest.FixtureRequest) -> Callable[[Plan], Encoder]:
    """Makes an encoder: once the compiled one, once the one in Python."""
    if request.param == "python":
        return PureEncoder
    found: Library = request.getfixturevalue("compiled_library")
    return lambda plan: encoder(plan, found)
