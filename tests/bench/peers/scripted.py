"""Runs the clients that take bodies from a file: the one in Go, or the one in Python in two processes."""

import asyncio
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local.database import ROOT
from tests.bench.peers.golang import Programs
from tests.bench.peers.raw import Call, Measured, quantiles
from tests.bench.peers.servers import PATHS

PROCESSES = 2
SECONDS_MAX = 300
PYTHON = (sys.executable, "-m", "tests.bench.peers.raw")


class ClientFails(Exception):
    """A client ended otherwise than it should; the message has what it said."""


async def run_written(
    call: Call, bodies: Sequence[bytes], offset: int, *, clients: int, seconds: float, programs: Programs | None, most: int = 0,
    deadline_seconds: float = 0,
) -> Measured:  # fmt: skip
    """Lets clients send one body after the other, each with a fresh UUID at `offset` (-1: as it is), until the time is over.

    Only the client in Go knows deadlines; 0 is none.
    """
    with tempfile.TemporaryDirectory(prefix="teppan-load-") as folder:
        file = Path(folder) / "bodies"
        file.write_bytes(b"".join(len(body).to_bytes(4, "big") + body for body in bodies))
        command = [*(PYTHON if programs is None else (str(programs.load),)), "-bodies", str(file), "-offset", str(offset)]
        if programs is not None:
            command += ["-deadline", f"{deadline_seconds}s"]
        processes = 1 if programs is not None else min(PROCESSES, clients, most or PROCESSES)
        shares = [(clients + n) // processes for n in range(processes)]
        mosts = [(most + n) // processes for n in range(processes)]
        begun = zip(shares, mosts, strict=True)
        seen = await asyncio.gather(*(_client(call, command, share, seconds, limit) for share, limit in begun))
    return _together(call, seen, "python" if programs is None else "go")


async def run_python(call: Call, *, clients: int, calls: int) -> Measured:
    """Makes a number of calls that are all alike, where there is no h2load."""
    return await run_written(call, [call.body], -1, clients=clients, seconds=SECONDS_MAX, programs=None, most=calls)


async def _client(call: Call, command: Sequence[str], clients: int, seconds: float, most: int) -> dict[str, Any]:
    paths = os.pathsep.join(str(ROOT / path) for path in PATHS)
    child = await asyncio.create_subprocess_exec(
        *command, "-kind", call.kind, "-target", call.address, "-path", call.path, "-authorization", call.authorization,
        "-clients", str(clients), "-seconds", str(seconds), "-most", str(most),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds + SECONDS_MAX):
            output, errors = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    if child.returncode:
        raise ClientFails(errors.decode()[-2000:])
    seen: dict[str, Any] = json.loads(output)
    return seen


def _together(call: Call, seen: Sequence[dict[str, Any]], client: str) -> Measured:
    done, failures = sum(each["done"] for each in seen), sum((Counter(each["failures"]) for each in seen), Counter[str]())
    if client == "go":
        median, late = (float(seen[0][name]) / 1000 for name in ("p50_us", "p99_us"))
    else:
        median, late = quantiles([each for one in seen for each in one["micros"]])
    return Measured(
        client=client, done=done, failed=sum(each["failed"] for each in seen), seconds=max(each["seconds"] for each in seen),
        bytes=sum(each["bytes"] for each in seen), rows=done * call.rows, p50_ms=median, p99_ms=late, failures=dict(failures),
    )  # fmt: skip
