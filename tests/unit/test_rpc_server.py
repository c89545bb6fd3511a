"""The server's life, its health, its metrics and log, and the work beside it."""

import asyncio
import errno
import io
import json
import logging
import os
import signal
import socket
import sys
import urllib.request
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client import CollectorRegistry
from teppan.bookings.v1 import bookings_pb2
from teppan.common.v1 import references_pb2

from rpccommon.calls import Calls
from rpccommon.policies import policies
from rpccommon.server import CannotListen, Server, run_workers, until_signalled
from rpccommon.telemetry import Telemetry, logging_to
from tests.unit.rpc_stage import SERVICES, STATION, ready, verifier

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
QUESTION = references_pb2.CheckReferencesRequest(type="identity.Station", items=[references_pb2.ReferenceItem(id=str(STATION))])
REAL = socket.socket
GET = bookings_pb2.GetBookingRequest(station_id=str(STATION), booking_id=str(STATION))


def server(listen: str = "127.0.0.1:0", readiness: Any = ready, applied: asyncio.Event | None = None) -> Server:
    """One that serves nothing but its health."""
    calls = Calls("test", policies(*SERVICES), verifier(), Telemetry("test", CollectorRegistry()))
    return Server("test", listen, calls, [], ["teppan.bookings.v1.BookingsService"], readiness, applied=applied, drain_seconds=0)


async def test_a_taken_port_is_an_error_that_names_it() -> None:
    first = server()
    port = await first.start()
    with pytest.raises(CannotListen, match=f"127.0.0.1:{port}"):
        await server(f"127.0.0.1:{port}").start()
    await first.stop()
    again = server(f"127.0.0.1:{port}")
    assert await again.start() == port
    await again.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names that the kernel forgets with a process")
async def test_of_two_that_find_a_port_free_in_the_same_moment_one_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr("rpccommon.acceptors._refuse_taken", lambda *_: None)
    first = server(address)
    await first.start()
    with pytest.raises(CannotListen, match=address):
        await server(address).start()
    await first.stop()
    again = server(address)
    await again.start()
    await again.stop()


async def test_an_address_of_a_kind_that_the_kernel_does_not_have_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` has one of IPv6, too, where the hosts file says so."""

    def without_ipv6(family: int, *arguments: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return REAL(family, *arguments)

    found = [
        (family, socket.SOCK_STREAM, 0, "", (host, 0)) for family, host in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))
    ]
    monkeypatch.setattr("rpccommon.acceptors.socket.getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr("rpccommon.acceptors.socket.socket", without_ipv6)
    first = server()
    await first.start()
    await first.stop()


@pytest.mark.parametrize(
    "listen", ["50051", ":50051", "localhost:", "localhost:http", "localhost:65536", "localhost:" + "9" * 30, "a..b:1"]
)
async def test_an_address_that_is_none_is_an_error_that_names_it(listen: str) -> None:
    with pytest.raises(CannotListen, match=listen):
        await server(listen).start()


async def test_nobody_is_sent_to_a_process_before_it_has_applied_what_it_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpccommon.server.READY_SECONDS", 0.01)
    applied, asked = asyncio.Event(), 0

    async def readiness() -> str | None:
        nonlocal asked
        asked += 1
        return None

    running = server(readiness=readiness, applied=applied)
    port = await running.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(5):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        while asked < 20:
            await asyncio.sleep(0.01)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING
        assert running._calls.unready is None  # who calls all the same hears what the process does not know, and no other reason
        applied.set()
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        while (await watch.read()).status != SERVING:
            pass
    await running.stop()


async def test_a_process_serves_as_soon_as_it_has_applied_what_it_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpccommon.server.READY_SECONDS", 60.0)
    applied = asyncio.Event()
    running = server(applied=applied)
    port = await running.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(5):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == NOT_SERVING
        applied.set()
        assert (await watch.read()).status == SERVING
    await running.stop()


async def test_one_failure_of_the_check_is_not_taken_for_unreadiness(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was cut, or a moment in which this process did not run."""
    monkeypatch.setattr("rpccommon.server.READY_SECONDS", 0.01)
    asked = 0

    async def readiness() -> str | None:
        nonlocal asked
        asked += 1
        if asked % 2:
            raise OSError("cut")
        return None

    running = server(readiness=readiness)
    port = await running.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(5):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        while (await watch.read()).status != SERVING:
            pass
        while asked < 20:
            await asyncio.sleep(0.01)
        changed = asyncio.ensure_future(watch.read())
        await asyncio.sleep(0)
        assert not changed.done()
        assert running._calls.unready is None
        changed.cancel()
    await running.stop()


async def test_health_follows_readiness_and_watchers_are_told_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpccommon.server.READY_SECONDS", 0.01)
    problem: list[str | Exception | None] = ["the database does not answer"]

    async def readiness() -> str | None:
        if isinstance(problem[0], Exception):
            raise problem[0]
        return problem[0]

    running = server(readiness=readiness)
    port = await running.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(5):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        states = [
            aiter(stub.Watch(health_pb2.HealthCheckRequest(service=name))) for name in ("", "teppan.bookings.v1.BookingsService")
        ]
        for change, expected in (
            ("the database does not answer", NOT_SERVING), (None, SERVING), (OSError("gone"), NOT_SERVING), (None, SERVING),
        ):  # fmt: skip
            problem[0] = change
            for state in states:
                assert (await anext(state)).status == expected
            assert (await stub.Check(health_pb2.HealthCheckRequest())).status == expected
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.Check(health_pb2.HealthCheckRequest(service="none.such"))
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND
        stopping = asyncio.create_task(running.stop())
        for state in states:
            assert [answer.status async for answer in state] == [NOT_SERVING]
        await stopping


@pytest.mark.parametrize("version", ["v1alpha", "v1"])
async def test_reflection_names_the_services_and_describes_itself(version: str) -> None:
    running = server()
    port = await running.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        [answer] = [answer async for answer in call(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))]
        named = {service.name for service in answer.list_services_response.service}
        assert {"teppan.bookings.v1.BookingsService", f"grpc.reflection.{version}.ServerReflection"} <= named
        asked = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in named]
        described = [answer async for answer in call(iter(asked))]
        assert all(each.file_descriptor_response.file_descriptor_proto for each in described)
    await running.stop()


async def test_a_signal_ends_the_wait() -> None:
    waiting = asyncio.create_task(until_signalled())
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        await waiting


async def test_workers_begin_again_and_end_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpccommon.server.WORKER_PAUSE_SECONDS", (0.001, 0.001))
    runs = {"fails": 0, "ends": 0, "goes on": 0}
    enough = asyncio.Event()

    async def fails() -> None:
        runs["fails"] += 1
        if runs["fails"] > 3:
            enough.set()
        raise ValueError("a worker's own trouble")

    async def ends() -> None:
        runs["ends"] += 1

    async def goes_on() -> None:
        runs["goes on"] += 1
        try:
            await asyncio.Event().wait()
        finally:
            runs["goes on"] += 10

    running = asyncio.create_task(run_workers(fails, ends, goes_on))
    async with asyncio.timeout(5):
        await enough.wait()
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert runs["goes on"] == 11, "one failing does not touch another, and the end reaches all"
    assert runs["ends"] > 1


def test_metrics_are_served_and_end() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
    telemetry = Telemetry("test", CollectorRegistry())
    measures = telemetry.of("/a/b")
    measures.began()
    measures.ended("OK", 0.1)
    close = telemetry.start_metrics(address)
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        assert b'rpc_calls_total{code="OK",method="/a/b"} 1.0' in answer.read()
    with pytest.raises(CannotListen, match=address):
        Telemetry("test", CollectorRegistry()).start_metrics(address)
    close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://{address}/metrics", timeout=5)


def test_the_log_is_json_without_the_values_of_variables() -> None:
    stream, handlers, level = io.StringIO(), logging.root.handlers[:], logging.root.level
    logging_to(stream)
    password = "correct horse"  # noqa: S105  # what must not be seen
    try:
        raise ValueError("broken")  # noqa: TRY301  # caught here on purpose
    except ValueError:
        structlog.get_logger().exception("it failed")
        logging.getLogger("grpc").exception("it failed there too %d", len(password))
    logging.getLogger("grpc").info("not so important")
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [("it failed", "error"), ("it failed there too 13", "error")]
    assert all(line["exception"][0]["exc_type"] == "ValueError" and line["timestamp"] for line in lines)
    assert password not in stream.getvalue()
