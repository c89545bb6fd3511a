"""The way to a peer."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry
from teppan.bookings.v1 import bookings_pb2, bookings_pb2_grpc
from teppan.common.v1 import references_pb2, references_pb2_grpc

from callers import Kind
from faults import DeadlineExceeded, PeerUnavailable
from rpccommon.auth import ServiceToken
from rpccommon.calls import Calls
from rpccommon.client import Peer
from rpccommon.policies import policies
from rpccommon.present import call_id, caller, deadline_left
from rpccommon.server import Server
from rpccommon.telemetry import Telemetry
from tests.unit.client.proxy import Proxy
from tests.unit.rpc_stage import SERVICE_KEY, SERVICES, STATION, Stage, bearer, now, ready, stage, user, verifier

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
QUESTION = references_pb2.CheckReferencesRequest(type="identity.Station", items=[references_pb2.ReferenceItem(id=str(STATION))])
GET = bookings_pb2.GetBookingRequest(station_id=str(STATION), booking_id=str(STATION))


def server(listen: str = "127.0.0.1:0", readiness: Any = ready) -> Server:
    """One that serves nothing but its health."""
    calls = Calls("test", policies(*SERVICES), verifier(), Telemetry("test", CollectorRegistry()))
    return Server("test", listen, calls, [], ["teppan.bookings.v1.BookingsService"], readiness, drain_seconds=0)


def peer(port: int) -> Peer:
    """A way to whatever listens there."""
    return Peer("test", f"127.0.0.1:{port}", ServiceToken("bookings", SERVICE_KEY, now), lambda: None)


class References(references_pb2_grpc.ReferencesServiceServicer):
    """Notes how it is called."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def CheckReferences(self, request: Message, context: Any) -> references_pb2.CheckReferencesResponse:
        self.calls.append((caller(), call_id(), deadline_left()))
        return references_pb2.CheckReferencesResponse()


class Bookings(bookings_pb2_grpc.BookingsServiceServicer):
    """Asks a peer in turn."""

    def __init__(self) -> None:
        self.peer: Peer | None = None

    async def GetBooking(self, request: Message, context: Any) -> bookings_pb2.GetBookingResponse:
        assert self.peer
        await self.peer.call(references_pb2_grpc.ReferencesServiceStub(self.peer.channel).CheckReferences, QUESTION, timeout=60)
        return bookings_pb2.GetBookingResponse()


@pytest.fixture
def references() -> References:
    return References()  # type: ignore[abstract]  # what else the service has is not called


@pytest.fixture
async def on(references: References) -> AsyncIterator[Stage]:
    bookings = Bookings()  # type: ignore[abstract]  # what else the service has is not called
    async with stage(references, bookings) as running:
        bookings.peer = running.peer
        yield running


async def test_a_call_to_a_peer_goes_on_in_the_services_name_under_the_same_id_within_the_deadline(
    on: Stage, references: References
) -> None:
    viewer = bearer(user(station=1))
    await on.bookings.GetBooking(GET, metadata=(*viewer, ("x-call-id", "c1")), timeout=1)
    [(who, its_id, left)] = references.calls
    assert (who.kind, who.subject, its_id) == (Kind.SERVICE, "bookings", "c1")
    assert left < 1


async def test_no_peer_is_asked_while_a_connection_is_held(on: Stage, references: References) -> None:
    on.held.append("a connection")
    stub = references_pb2_grpc.ReferencesServiceStub(on.peer.channel)
    with pytest.raises(AssertionError):
        await on.peer.call(stub.CheckReferences, QUESTION, timeout=1)
    with pytest.raises(AssertionError):
        await anext(on.peer.stream(on.bookings.ListBookings, bookings_pb2.ListBookingsRequest()))
    assert not references.calls


async def test_no_peer_is_asked_when_no_time_is_left(on: Stage, references: References, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpccommon.client.deadline_left", lambda: 0.01)
    with pytest.raises(DeadlineExceeded):
        await on.peer.call(references_pb2_grpc.ReferencesServiceStub(on.peer.channel).CheckReferences, QUESTION, timeout=1)
    assert not references.calls


async def test_a_peer_that_is_down_is_noticed_at_once_and_found_again_soon() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    way = peer(port)
    stub: Any = health_pb2_grpc.HealthStub(way.channel)
    retried_by_others = references_pb2_grpc.ReferencesServiceStub(way.channel).CheckReferences
    for _ in range(3):
        started = time.monotonic()
        with pytest.raises(PeerUnavailable):
            await way.call(retried_by_others, QUESTION, timeout=10)
        assert time.monotonic() - started < 0.5
    running = server(f"127.0.0.1:{port}")
    await running.start()
    async with asyncio.timeout(5):
        while True:
            try:
                await way.call(stub.Check, health_pb2.HealthCheckRequest(), timeout=1)
                break
            except PeerUnavailable:
                await asyncio.sleep(0.05)
    await way.close()
    await running.stop()


async def test_a_peer_that_accepts_and_says_nothing_ends_with_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        way = peer(silent.getsockname()[1])
        stub: Any = health_pb2_grpc.HealthStub(way.channel)
        started = time.monotonic()
        with pytest.raises(PeerUnavailable):
            await way.call(stub.Check, health_pb2.HealthCheckRequest(), timeout=0.3)
        assert time.monotonic() - started < 2
        await way.close()


async def test_a_stream_of_a_peer_that_is_frozen_ends(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpccommon.client.KEEPALIVE_SECONDS", 0.3)
    monkeypatch.setattr("rpccommon.client.KEEPALIVE_PATIENCE_SECONDS", 0.3)
    with Proxy(on.port) as between:
        way = peer(between.port)
        stub: Any = health_pb2_grpc.HealthStub(way.channel)
        stream = way.stream(stub.Watch, health_pb2.HealthCheckRequest())
        async with asyncio.timeout(5):
            await anext(stream)
            between.freeze()
            with pytest.raises(PeerUnavailable):
                async for _ in stream:
                    pass
        await way.close()


async def test_a_proxy_of_the_environment_is_not_asked_for_the_way_to_a_peer(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    way = peer(on.port)
    stub: Any = health_pb2_grpc.HealthStub(way.channel)
    assert (await way.call(stub.Check, health_pb2.HealthCheckRequest(), timeout=10)).status == SERVING
    await way.close()


async def test_of_two_replicas_the_one_that_drains_is_left_and_no_call_fails() -> None:
    first, second = server(), server()
    ports = [await first.start(), await second.start()]
    way = Peer("test", "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports), ServiceToken("b", SERVICE_KEY, now), lambda: None)
    stub: Any = health_pb2_grpc.HealthStub(way.channel)

    async def all_serve() -> None:
        answers = [await way.call(stub.Check, health_pb2.HealthCheckRequest(), timeout=5) for _ in range(20)]
        assert {answer.status for answer in answers} == {SERVING}

    async def serves_steadily() -> None:
        while True:
            try:
                return await all_serve()
            except (AssertionError, PeerUnavailable):  # one that is not ready yet, or no more, was asked
                await asyncio.sleep(0)

    async with asyncio.timeout(20):
        await serves_steadily()
        first._drain_seconds = 5  # long enough to be left in on a busy machine: it is left by what health says, not by the end
        stopping = asyncio.create_task(first.stop())
        await serves_steadily()
        assert not stopping.done(), "it was left only when it was gone"
        while not stopping.done():
            await all_serve()
    await all_serve()
    await way.close()
    await second.stop()


async def test_two_channels_share_no_connection_or_both_would_start_to_watch_its_health_at_once_and_crash() -> None:
    """In grpcio 1.76 the second may use a watch that the first has made and not started: a NULL pointer."""
    seen: set[str] = set()

    class Noted(health_pb2_grpc.HealthServicer):
        async def Check(self, request: Message, context: Any) -> health_pb2.HealthCheckResponse:
            seen.add(context.peer())
            return health_pb2.HealthCheckResponse(status=SERVING)

    noting = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(Noted(), noting)
    port = noting.add_insecure_port("127.0.0.1:0")
    await noting.start()
    peers = [peer(port) for _ in range(2)]
    for each in peers:
        stub: Any = health_pb2_grpc.HealthStub(each.channel)
        await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=10)
    for each in peers:
        await each.close()
    await noting.stop(None)
    assert len(seen) == len(peers)
