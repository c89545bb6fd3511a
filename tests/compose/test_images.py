"""What the images hold, and what their containers may do."""

import json
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compose.stack import Composed, EngineFails, engine
from local.database import SERVICES
from tests.compose.inside import inspect, run

COMPILERS = r"(gcc|g\+\+|cc|c\+\+|clang|tcc|as|ld|make|rustc|cargo|go)(-[0-9.]+)?"
BIN = ("usr/bin/", "usr/local/bin/", "bin/", "app/venv/bin/", "usr/sbin/")
SCANNED_BYTES_MAX = 4_000_000


def image(service: str) -> str:
    return f"teppan-{service}:test"


@pytest.fixture(scope="module")
def files(composed: Composed, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each service's image, as a tar of all its files."""
    folder, found = tmp_path_factory.mktemp("images"), {}
    for service in SERVICES:
        container = engine("create", image(service)).strip()
        found[service] = folder / f"{service}.tar"
        engine("export", "--output", str(found[service]), container)
        engine("rm", container)
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_holds_its_own_service_and_no_other(composed: Composed, service: str) -> None:
    others = sorted(set(SERVICES) - {service})
    program = (
        "import importlib.util as u, pathlib, sys; print(sorted(p.name for p in pathlib.Path('/app/services').iterdir())); "
        f"sys.exit(any(map(u.find_spec, {others})) or u.find_spec({service!r}) is None)"
    )
    assert engine("run", "--rm", "--entrypoint=python", image(service), "-c", program).strip() == str([service])


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_holds_no_compiler_no_pip_of_its_own_and_no_tests(files: dict[str, Path], service: str) -> None:
    names = [member.name for member in members(files[service])]
    assert len(names) > 1_000
    found = [n for n in names for b in BIN if n.startswith(b) and re.fullmatch(COMPILERS, n.removeprefix(b))]
    assert not found
    assert not [
        name for name in names if name.startswith("app/") and re.search(r"/(pip|tests|deploy)(/|$)", name) and "venv" not in name
    ]
    assert "app/venv/bin/pip" not in names


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_holds_no_secret(composed: Composed, files: dict[str, Path], service: str) -> None:
    """None of the stack's; and neither a key nor a password in its settings or its history."""
    secrets = {path: path.read_bytes().strip() for path in composed.secrets.rglob("*") if path.is_file() and path.suffix != ".crt"}
    secrets = {path: content for path, content in secrets.items() if content and path.name != "services.jwks.json"}  # public keys
    assert len(secrets) > 20
    with tarfile.open(files[service]) as tar:
        for member in tar:
            if member.isfile() and member.size < SCANNED_BYTES_MAX and (held := tar.extractfile(member)) is not None:
                content = held.read()
                assert not [path for path, secret in secrets.items() if secret in content], member.name
                assert not (member.name.startswith(("app/libs", "app/services", "run/")) and b"PRIVATE KEY-----\n" in content)
    told = json.dumps(json.loads(engine("inspect", image(service)))[0]["Config"]) + engine("history", "--no-trunc", image(service))
    assert not re.search(r"(?i)password|secret|private key|token=", told)


@pytest.mark.parametrize("service", [*SERVICES, "envoy", "postgres"])
def test_containers_run_without_root_without_capabilities_on_a_read_only_root(composed: Composed, service: str) -> None:
    for container in composed.containers(service):
        status = dict(line.split(":\t", 1) for line in run(container, "cat", "/proc/1/status").splitlines() if ":\t" in line)
        assert set(status["Uid"].split()) & {"0"} == set()
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert status["NoNewPrivs"].strip() == "1"
        with pytest.raises(EngineFails, match="Read-only file system"):
            run(container, "touch", "/usr/x")
        assert inspect(container)["HostConfig"]["ReadonlyRootfs"] is True


def test_the_sizes_of_the_images_are_told(composed: Composed, tell: Callable[[str], None]) -> None:
    base = size("python:3.13-slim-trixie")
    told = [f"{image(service)} {size(image(service)) / 1e6:.0f} MB" for service in SERVICES]
    assert all(size(image(service)) > base for service in SERVICES)
    tell(f"images: {', '.join(told)}; of each {base / 1e6:.0f} MB are python:3.13-slim-trixie")


def members(path: Path) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        yield from tar


def size(name: str) -> int:
    """In bytes."""
    return int(json.loads(engine("inspect", name))[0]["Size"])
