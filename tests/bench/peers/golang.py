"""Builds what is written in Go with a distribution's packages: no network, no module proxy."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local.database import ROOT
from tests.bench.peers.absent import Absent, alone
from tests.bench.peers.stubs import go_stubs

SOURCES = Path(__file__).parent / "go"
BUILD = ROOT / "build" / "bench" / "go"
LIBRARIES = Path("/usr/share/gocode")
"""Where Debian's packages put the sources of libraries."""
TOOLS = {"go": "golang-go", "protoc-gen-go": "protoc-gen-go-1-3"}
PACKAGES = {
    "google.golang.org/grpc": "golang-google-grpc-dev",
    "github.com/jackc/pgx/v4": "golang-github-jackc-pgx-v4-dev",
    "github.com/golang/protobuf": "golang-goprotobuf-dev",
    "google.golang.org/genproto/googleapis/type/date": "golang-google-genproto-dev",
    "google.golang.org/genproto/googleapis/rpc/errdetails": "golang-google-genproto-dev",
}
BUILD_SECONDS = 600


class BuildFails(Exception):
    """The compiler refuses the sources; the message has what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """What was built."""

    server: Path
    load: Path
    version: str
    """Of the toolchain, as it says it itself."""


def build() -> Programs:
    """Builds server and load client into build/bench/go. Raises Absent, BuildFails.

    What is as it was is not compiled again.
    """
    if missing := missing_packages():
        raise Absent(f"The Go peer is left out: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed.")
    with alone(BUILD):
        return _built()


def _built() -> Programs:
    source = BUILD / "src" / "teppan"
    for name in ("server", "load"):
        shutil.rmtree(source / name, ignore_errors=True)
        shutil.copytree(SOURCES / name, source / name)
    go_stubs("protoc-gen-go", source / "bookingspb")
    environ = _environ()
    for name in ("server", "load"):
        command = ["go", "build", "-o", str(BUILD / "bin" / name), f"teppan/{name}"]
        done = subprocess.run(command, env=environ, cwd=BUILD, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
        if done.returncode:
            raise BuildFails(done.stderr)
    version = subprocess.run(["go", "version"], env=environ, capture_output=True, text=True, check=True).stdout.split()[2]  # noqa: S607  # on PATH, as make is
    return Programs(server=BUILD / "bin" / "server", load=BUILD / "bin" / "load", version=version)


def missing_packages() -> list[str]:
    """Returns the names of the Debian packages that a build needs and this machine lacks."""
    tools = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    return tools + sorted({package for folder, package in PACKAGES.items() if not (LIBRARIES / "src" / folder).is_dir()})


def _environ() -> Mapping[str, str]:
    return {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": f"{BUILD}:{LIBRARIES}",
        "GOCACHE": str(BUILD / "cache"),
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
    }
