"""The load client, which is never the bottleneck: h2load for calls that are all alike, a small client in Go for writes.

h2load sees neither a gRPC status nor a content. So each measurement begins with one real call, whose answer the caller of these
functions looks at; then every other answer must have as many bytes. What is measured is a number of calls, found by a short run that
warms the server too.
"""

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from tests.bench.peers.cpu import Account, spent
from tests.bench.peers.golang import Programs
from tests.bench.peers.raw import Call, Measured, quantiles, received, size
from tests.bench.peers.scripted import run_python, run_written

Check = Callable[[Sequence[bytes]], None]
"""Looks at the messages of an answer, and raises where they are not right."""

CALIBRATION_SECONDS = 0.3
CALIBRATION_CALLS = 20
WARM_SECONDS = 1.0
MANY_CALLS = 100_000
PACED_AT_ONCE = 100
"""How many calls by the clock may wait for their answers."""
SECONDS_MAX = 300


class WrongAnswer(Exception):
    """A call failed, or an answer is not what the first one was; the sentence says which."""


async def measure(
    call: Call, check: Check, *, clients: int, seconds: float = 3.0, connections: int | None = None, tolerance: float = 0.0,
    accounts: Sequence[Account] = (),
) -> Measured:  # fmt: skip
    """Measures a call that many clients make again and again, for about so many seconds. Raises WrongAnswer.

    Each client has a connection of its own unless `connections` says how many there are. `tolerance` is the share by which answers may
    differ in size from the first. `accounts` are read around the measurement itself, without the calls before it.
    """
    expected = await _expected(call, check)
    shared = connections or clients
    trial = await _some(call, clients, shared, clients * CALIBRATION_CALLS)
    while trial.seconds < CALIBRATION_SECONDS:
        trial = await _some(call, clients, shared, max(2 * trial.done, round(trial.per_second * CALIBRATION_SECONDS * 1.2)))
    with spent(*accounts) as taken:
        measured = await _some(call, clients, shared, max(clients, round(trial.per_second * seconds)))
    return replace(_same(call, measured, expected, tolerance), cpu_seconds=taken.seconds)


async def measure_stream(
    call: Call, check: Check | None, *, expected: int = 0, tolerance: float = 0.0, accounts: Sequence[Account] = ()
) -> Measured:
    """Measures one call of one client, to the end of its stream. Raises WrongAnswer.

    The real call before it costs a whole stream: where `check` is None it is left out, and `expected` is the number of bytes that one
    was measured to have before (`Measured.bytes`).
    """
    wanted = expected if check is None else await _expected(call, check)
    with spent(*accounts) as taken:
        measured = await _some(call, 1, 1, 1)
    return replace(_same(call, measured, wanted, tolerance), cpu_seconds=taken.seconds)


async def measure_writes(
    call: Call, bodies: Sequence[bytes], offset: int, check: Check, *, clients: int, seconds: float = 3.0, programs: Programs | None,
    warm_seconds: float = WARM_SECONDS, accounts: Sequence[Account] = (),
) -> Measured:  # fmt: skip
    """Measures calls that each carry a fresh UUID, `offset` bytes into one body after the other. Raises WrongAnswer.

    The client is the one in Go where `programs` are there, else one in Python, which may be the bottleneck: `Measured.client` says it.
    The first body is sent as it is, for `check`. Calls for `warm_seconds` come before those that are measured: each of a server's
    connections plans its statements first.
    """
    first = replace(call, body=bodies[0])
    check(await received(first))
    await run_written(call, bodies, offset, clients=clients, seconds=warm_seconds, programs=programs)
    with spent(*accounts) as taken:
        measured = await run_written(call, bodies, offset, clients=clients, seconds=seconds, programs=programs)
    if measured.failed:
        raise WrongAnswer(
            f"{measured.failed} of {measured.failed + measured.done} calls of {call.path} failed: {measured.failures}"
        )
    return replace(measured, cpu_seconds=taken.seconds)


async def measure_paced(call: Call, check: Check, *, per_second: float, seconds: float) -> Measured:
    """Measures a call that is made by the clock, on one connection. Raises WrongAnswer.

    A caller who waits for each answer before the next call makes few calls while the server is slow, and his median hides it.
    Without h2load the calls are one after the other.
    """
    expected = await _expected(call, check)
    return _same(call, await _some(call, PACED_AT_ONCE, 1, max(1, round(per_second * seconds)), per_second), expected, 0.0)


@asynccontextmanager
async def repeated(call: Call, clients: int) -> AsyncIterator[None]:
    """Lets clients make a call again and again meanwhile. Raises WrongAnswer where they stopped by themselves."""
    task = asyncio.create_task(_some(call, clients, clients, MANY_CALLS))
    try:
        yield
        if task.done():
            raise WrongAnswer(f"calls of {call.path} ended: {task.exception() or task.result()}")
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _expected(call: Call, check: Check) -> int:
    messages = await received(call)
    check(messages)
    return size(call, messages)


def _same(call: Call, measured: Measured, expected: int, tolerance: float) -> Measured:
    wanted = expected * measured.done
    if measured.failed or not measured.done:
        raise WrongAnswer(
            f"{measured.failed} of {measured.failed + measured.done} calls of {call.path} failed: {measured.failures}"
        )
    if abs(measured.bytes - wanted) > tolerance * wanted:
        raise WrongAnswer(
            f"{measured.done} answers of {call.path} have {measured.bytes} bytes, not {wanted} as {measured.done} times the first"
        )
    return measured


async def _some(call: Call, clients: int, connections: int, calls: int, per_second: float = 0) -> Measured:
    if shutil.which("h2load") is None:
        return await run_python(call, clients=1 if per_second else clients, calls=calls)
    with tempfile.TemporaryDirectory(prefix="teppan-load-") as folder:
        return await _h2load(call, clients, connections, calls, Path(folder), [f"--rps={per_second}"] if per_second else [])


async def _h2load(call: Call, clients: int, connections: int, calls: int, folder: Path, pace: Sequence[str]) -> Measured:
    log = folder / "log"
    child = await asyncio.create_subprocess_exec(
        "h2load", *_options(call, folder), *pace, "-n", str(calls), "-c", str(min(connections, calls)), "-m", str(max(1, clients // connections)),
        "-t", "1", f"--log-file={log}", f"http://{call.address}{call.path}",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS_MAX):
            said = (await child.communicate())[0].decode()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    micros = [int(line.split("\t")[2]) for line in log.read_text().splitlines()] if log.exists() else []
    return _parsed(call, said, micros)


def _options(call: Call, folder: Path) -> list[str]:
    headers = {"authorization": call.authorization} if call.authorization else {}
    options = []
    if call.kind == "grpc":
        headers |= {"te": "trailers", "content-type": "application/grpc"}
        body = bytes(1) + len(call.body).to_bytes(4, "big") + call.body
    else:
        options.append("--h1")
        headers |= {"content-type": "application/json"} if call.body else {}
        body = call.body
    if body:
        (folder / "body").write_bytes(body)
        options.append(f"--data={folder / 'body'}")
    return [*options, *(f"--header={name}: {value}" for name, value in headers.items())]


def _parsed(call: Call, said: str, micros: Sequence[int]) -> Measured:
    finished = re.search(r"finished in ([\d.]+)(us|ms|s|m)\b", said)
    counted = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
    data = re.search(r"\((\d+)\) data", said)
    if not (finished and counted and data):
        raise WrongAnswer(f"h2load does not understand {call.path}: {said[-1000:]}")
    done, bad = int(counted[1]), int(counted[2])
    median, late = quantiles(micros)
    return Measured(
        client="h2load", done=done, failed=bad, seconds=float(finished[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[finished[2]],
        bytes=int(data[1]), rows=done * call.rows, p50_ms=median, p99_ms=late, failures={"h2load says": bad} if bad else {},
    )  # fmt: skip
