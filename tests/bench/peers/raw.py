"""Calls as bytes, and a client for them in Python: for the one real call, and where h2load or the client in Go is not there.

As a program it does what the client in Go does, with the same options and the same answer, but its latencies are all in it.
"""

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import grpc
import uvloop

CALL_SECONDS = 300
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
OK = range(200, 300)
FRAME_BYTES = 5
"""Before each gRPC message: whether it is compressed, and its length."""


class Refused(Exception):
    """A call was answered with a failure; the sentence has what it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that can be made again and again."""

    kind: str = "grpc"
    """Or "http": a GET, or with a body a POST of JSON."""
    address: str
    path: str
    body: bytes = b""
    """The serialised message, without its frame."""
    authorization: str = ""
    rows: int = 1
    """What an answer to it has, for `Measured.rows`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a client saw."""

    client: str
    """`h2load`, `go` or `python`: the last may be the bottleneck."""
    done: int
    failed: int
    seconds: float
    bytes: int
    """Of all answers, with the frames of gRPC."""
    rows: int
    p50_ms: float
    p99_ms: float
    failures: Mapping[str, int] = field(default_factory=dict)
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    """What the accounts took for these calls, by name."""

    @property
    def per_second(self) -> float:
        """Calls."""
        return self.done / self.seconds

    @property
    def bytes_per_second(self) -> float:
        """Bytes of answers."""
        return self.bytes / self.seconds

    @property
    def rows_per_second(self) -> float:
        """Rows, where the call said how many an answer has."""
        return self.rows / self.seconds

    def cpu_us(self, name: str, *, a_row: bool = False) -> float:
        """Returns microseconds of an account for each call, or for each row."""
        return self.cpu_seconds[name] * 1e6 / (self.rows if a_row else self.done)


Invoke = Callable[[bytes], Awaitable[list[bytes]]]


async def received(call: Call) -> list[bytes]:
    """Returns the messages of one answer, or the body of one of HTTP. Raises Refused."""
    invoke, close = await connected(call)
    try:
        async with asyncio.timeout(CALL_SECONDS):
            return await invoke(call.body)
    finally:
        await close()


async def connected(call: Call) -> tuple[Invoke, Callable[[], Awaitable[None]]]:
    """Connects; returns what makes a call with a body, and what closes."""
    return await (_grpc(call) if call.kind == "grpc" else _http(call))


async def _grpc(call: Call) -> tuple[Invoke, Callable[[], Awaitable[None]]]:
    channel = grpc.aio.insecure_channel(call.address, options=UNLIMITED)
    method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(call.path)
    metadata = [("authorization", call.authorization)] if call.authorization else []

    async def invoke(body: bytes) -> list[bytes]:
        try:
            return [message async for message in method(body, metadata=metadata)]
        except grpc.aio.AioRpcError as error:
            raise Refused(f"{error.code().name}: {error.details()}") from error

    async def close() -> None:
        await channel.close()

    return invoke, close


async def _http(call: Call) -> tuple[Invoke, Callable[[], Awaitable[None]]]:
    host, _, port = call.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    fixed = f" {call.path} HTTP/1.1\r\nhost: {call.address}\r\n"
    if call.authorization:
        fixed += f"authorization: {call.authorization}\r\n"

    async def invoke(body: bytes) -> list[bytes]:
        about = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n" if body else ""
        writer.write(f"{'POST' if body else 'GET'}{fixed}{about}\r\n".encode() + body)
        status = int((await reader.readline()).split()[1])
        headers = {}
        while line := (await reader.readline()).strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        content = await _content(reader, headers)
        if status not in OK:
            raise Refused(f"{status}: {content[:200].decode(errors='replace')}")
        return [content]

    async def close() -> None:
        writer.close()
        await writer.wait_closed()

    return invoke, close


async def _content(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    chunks = []
    while size := int(await reader.readline(), 16):
        chunks.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(chunks)


def size(call: Call, messages: Sequence[bytes]) -> int:
    """Returns the bytes of an answer, with the frames of gRPC."""
    return sum(map(len, messages)) + (FRAME_BYTES * len(messages) if call.kind == "grpc" else 0)


def quantiles(micros: Sequence[float]) -> tuple[float, float]:
    """Returns median and 99th percentile, in milliseconds."""
    if not micros:
        return 0.0, 0.0
    ordered = sorted(micros)
    median, late = (ordered[int(share * (len(ordered) - 1))] / 1000 for share in (0.5, 0.99))
    return median, late


async def _client(
    call: Call, bodies: Iterator[bytes], offset: int, until: float, micros: list[float], failures: Counter[str]
) -> int:
    invoke, close = await connected(call)
    total = 0
    try:
        while time.perf_counter() < until and (body := next(bodies, None)) is not None:
            sent = body if offset < 0 else body[:offset] + str(uuid4()).encode() + body[offset + 36 :]
            begun = time.perf_counter()
            try:
                total += size(call, await invoke(sent))
            except Refused as refused:
                failures[str(refused)] += 1
            else:
                micros.append((time.perf_counter() - begun) * 1e6)
    finally:
        await close()
    return total


async def _run(chosen: argparse.Namespace) -> None:
    call = Call(kind=chosen.kind, address=chosen.target, path=chosen.path, authorization=chosen.authorization)
    prepared = itertools.cycle(list(_prepared(chosen.bodies.read_bytes())))
    bodies = itertools.islice(prepared, chosen.most or None)
    micros: list[float] = []
    failures: Counter[str] = Counter()
    begun = time.perf_counter()
    clients = (_client(call, bodies, chosen.offset, begun + chosen.seconds, micros, failures) for _ in range(chosen.clients))
    total = sum(await asyncio.gather(*clients))
    seconds = time.perf_counter() - begun
    seen = {
        "done": len(micros),
        "failed": failures.total(),
        "failures": failures,
        "bytes": total,
        "seconds": seconds,
        "micros": micros,
    }
    sys.stdout.write(json.dumps(seen))


def _prepared(content: bytes) -> Iterator[bytes]:
    while content:
        length = int.from_bytes(content[:4], "big")
        yield content[4 : 4 + length]
        content = content[4 + length :]


def main() -> None:
    """Reads the command line, which is that of the client in Go."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("kind", "target", "path", "authorization"):
        parser.add_argument(f"-{name}", default="")
    parser.add_argument("-bodies", type=Path, required=True)
    for name, default in (("offset", -1), ("clients", 1), ("most", 0)):
        parser.add_argument(f"-{name}", type=int, default=default)
    parser.add_argument("-seconds", type=float, default=1.0)
    uvloop.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
