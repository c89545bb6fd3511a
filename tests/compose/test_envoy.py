"""Envoy, before the replicas: it shares calls among them, leaves who is not well, and lets no client hold up the others."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from demo.calls import Backend, bearer
from demo.scene import Scene, booking, day
from teppan.bookings.v1 import bookings_pb2, bookings_pb2_grpc
from teppan.client import refusal

from compose.stack import Composed, engine
from local.database import SERVICES
from tests.compose.inside import calls, certified, envoy_says, envoys_view, sql
from tests.deployed import eventually, healthy
from tests.traffic import own_station
from tests.unit.client.proxy import Proxy

CALLS, FRESH_CALLS = 200, 40
READERS = 16
ROWS = 80_000
"""Some 26 MB for each of them: more than Envoy would take in, if it took what it could (16 MB a stream, 24 MB a connection)."""
QUIET_BYTES = 10_000
OWN = [("grpc.use_local_subchannel_pool", 1)]
MANY = """INSERT INTO bookings.bookings SELECT (made.row).* FROM (
  SELECT jsonb_populate_record(b, jsonb_build_object('id', gen_random_uuid(), 'reference', 'TP-' || gen_random_uuid(), 'state', 9,
      'total_minor', 0, 'deposit_minor', 0)) AS row
  FROM bookings.bookings b, generate_series(1, {rows}) WHERE b.id = '{id}') made"""
NEVER_ARRIVED_SECONDS = 15.0


@pytest.fixture
def new_channel(composed: Composed) -> Callable[[int], grpc.aio.Channel]:
    """A connection of its own, to a port that leads to bookings."""
    credentials = grpc.ssl_channel_credentials(composed.trusted.read_bytes())
    return lambda port: grpc.aio.secure_channel(f"localhost:{port}", credentials, OWN)


@pytest.mark.parametrize("service", SERVICES)
async def test_envoy_finds_every_replica_healthy(composed: Composed, service: str) -> None:
    """By their own word: else it could not leave those that drain, and where all seem to fail it asks any."""

    def all_are() -> bool:
        return list(envoys_view(composed, service).values()) == ["healthy"] * 2

    await eventually(lambda: asyncio.to_thread(all_are))


async def test_envoy_shares_calls_among_replicas(composed: Composed, backend: Backend, cast: Scene, tmp_path: Path) -> None:
    own, method = certified(composed, tmp_path), "/teppan.bookings.v1.BookingsService/GetBooking"
    made = (await backend.call("bookings.CreateBooking", booking(cast.main, day(60), time(10), 1), cast.admin)).booking
    before = await asyncio.to_thread(calls, composed, "bookings", own, method)
    request = bookings_pb2.GetBookingRequest(station_id=made.station_id, booking_id=made.booking_id)
    await asyncio.gather(*(backend.call("bookings.GetBooking", request, cast.admin) for _ in range(CALLS)))
    after = await asyncio.to_thread(calls, composed, "bookings", own, method)
    shares = [now - then for now, then in zip(after, before, strict=True)]
    assert sum(shares) >= CALLS
    assert min(shares) > CALLS / 5, shares


async def test_envoy_leaves_a_replica_that_froze(composed: Composed) -> None:
    """By its word alone: its connections stay."""
    replica = composed.containers("payments")[0]

    def seen() -> list[str]:
        return sorted(envoys_view(composed, "payments").values())

    await asyncio.to_thread(engine, "pause", replica)
    try:
        await eventually(lambda: asyncio.to_thread(lambda: seen() == ["/failed_active_hc", "healthy"]))
    finally:
        await asyncio.to_thread(engine, "unpause", replica)
    await eventually(lambda: asyncio.to_thread(lambda: seen() == ["healthy"] * 2))
    await eventually(lambda: asyncio.to_thread(healthy, replica))


async def settled(stack: Composed) -> None:
    """Returns when Envoy takes in nothing more of bookings, but for what its health checks say."""
    taken = 0

    def reads() -> bool:
        nonlocal taken
        before, taken = taken, received(stack)
        return taken - before > QUIET_BYTES

    while await asyncio.to_thread(reads):
        await asyncio.sleep(1)  # what came in it is the condition: Envoy says how much it has had, and not that no more comes


def received(stack: Composed) -> int:
    [line] = [line for line in envoy_says(stack, "/stats") if line.startswith("cluster.bookings.upstream_cx_rx_bytes_total:")]
    return int(line.rpartition(":")[2])


async def test_readers_who_stopped_reading_hold_up_nobody(
    composed: Composed, backend: Backend, cast: Scene, new_channel: Callable[[int], grpc.aio.Channel]
) -> None:
    scene = await own_station(backend, cast, "Unread")
    made = (await backend.call("bookings.CreateBooking", booking(scene.main, day(20), time(10), 1), cast.admin)).booking
    await asyncio.to_thread(sql, composed, MANY.format(rows=ROWS, id=made.booking_id))
    whole = bookings_pb2.ListBookingsRequest(station_id=made.station_id, page_size=1000)
    one = bookings_pb2.GetBookingRequest(station_id=made.station_id, booking_id=made.booking_id)
    port, streams, told = composed.ports["bookings"], [], []
    async with AsyncExitStack() as closing:
        proxy = closing.enter_context(Proxy(port))
        for _ in range(READERS):
            stub: Any = bookings_pb2_grpc.BookingsServiceStub(await closing.enter_async_context(new_channel(proxy.port)))
            streams.append(stub.ListBookings(whole, metadata=bearer(cast.admin)))  # dropped, it would be cancelled
            assert (await streams[-1].read()).next_page_token
            proxy.freeze()  # gRPC itself reads on, whether or not its caller does
        await settled(composed)
        for _ in range(FRESH_CALLS):
            async with new_channel(port) as channel:
                stub = bookings_pb2_grpc.BookingsServiceStub(channel)
                try:
                    await stub.GetBooking(one, timeout=5, metadata=bearer(cast.admin))
                except grpc.aio.AioRpcError as error:
                    told.append(refusal(error))
    assert not told


async def test_calls_that_never_arrive_are_ended(
    composed: Composed, cast: Scene, new_channel: Callable[[int], grpc.aio.Channel]
) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with new_channel(composed.ports["bookings"]) as channel:
        method: Any = channel.stream_unary("/teppan.bookings.v1.BookingsService/GetBooking")
        async with asyncio.timeout(NEVER_ARRIVED_SECONDS * 2):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await method(nothing(), metadata=bearer(cast.admin))
    assert ended.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
