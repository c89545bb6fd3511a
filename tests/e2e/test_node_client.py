"""Another language needs nothing special: JavaScript, gRPC's own packages for it, and the .proto files, read as it runs."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import google.type as google_type
import grpc_tools
import pytest
from demo import listing
from demo.calls import Backend

from local.database import ROOT
from tests.deployed import Deployment

OLDEST_NODE = (18, 3)
INSTALL_SECONDS = 150.0
RUN_SECONDS = 100.0
PROGRAM = Path(__file__).parent / "node"
INCLUDE = (
    ROOT / "protos", ROOT / "third_party" / "protovalidate",
    Path(grpc_tools.__path__[0]) / "_proto", Path(google_type.__path__[0]).parents[1],
)  # fmt: skip
SERVICE_CONFIG = ROOT / "protos" / "python" / "teppan" / "service_config.json"
MALFORMED = ["request_id", "customer_id", "slot_date", "slot_start", "guests", "guests.adults"]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, with its packages, outside of the repository."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("Node is not on this machine")
    if tuple(map(int, re.findall(r"\d+", run("node", "--version", cwd=ROOT, seconds=RUN_SECONDS)))) < OLDEST_NODE:
        pytest.skip("Node is too old on this machine")
    folder = tmp_path_factory.mktemp("node")
    for path in PROGRAM.iterdir():
        if path.is_file():
            shutil.copyfile(path, folder / path.name)  # without its mode: a clone may be read-only
    run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder, seconds=INSTALL_SECONDS)
    return folder / "book.js"


async def test_a_node_program_books_lists_by_broken_streams_and_reads_why_it_is_refused(
    program: Path, running: Deployment, backend: Backend
) -> None:
    token = (await asyncio.to_thread(running.describe))["token"]
    told = [str(running.described), *(f"--include={path}" for path in INCLUDE), f"--service-config={SERVICE_CONFIG}"]
    saw = json.loads(await asyncio.to_thread(run, "node", str(program), *told, cwd=program.parent, seconds=RUN_SECONDS))

    assert saw["listed"] == await listing.whole(backend, token, saw["station_id"])
    assert sorted(saw["listed"]) == sorted(saw["made"])
    assert saw["repeated"] == saw["made"][0]
    assert len([pages for pages in saw["streams"] if pages]) >= 3  # one ended too early, one was cut, one resumed

    refusals = saw["refusals"]
    assert {name: (each["code"], each["domain"], each["reason"]) for name, each in refusals.items()} == {
        "reused": ("INVALID_ARGUMENT", "bookings.teppan", "REQUEST_ID_REUSED"),
        "malformed": ("INVALID_ARGUMENT", "bookings.teppan", "FIELDS_INVALID"),
        "full": ("FAILED_PRECONDITION", "bookings.teppan", "SLOT_FULL"),
        "nobody": ("UNAUTHENTICATED", "bookings.teppan", "TOKEN_MISSING"),
        "busy": ("RESOURCE_EXHAUSTED", "identity.teppan", "LOGIN_BUSY"),
    }
    assert sorted(each["field"] for each in refusals["malformed"]["fields"]) == sorted(MALFORMED)
    assert refusals["full"]["metadata"]["capacity"] == "2"
    assert refusals["busy"]["retry_ms"] == 1000


def run(*command: str, cwd: Path, seconds: float) -> str:
    """Runs to the end; what it said. Homes can be read-only, and a proxy leads to no server of this machine."""
    environ = {**os.environ, "npm_config_cache": str(cwd / "cache"), "no_grpc_proxy": "127.0.0.1,localhost"}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
