"""What a caller asks of a single call arrives as with any channel of gRPC; and what a closed channel says."""

import copy
import math
import pickle
import subprocess
import sys
from typing import Any

import grpc
import pytest
import trustme
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc import StatusCode
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.bookings.v1 import bookings_pb2_grpc
from teppan.client.methods import Method, method_of
from teppan.client.refusals import CallFailed, like

from local.database import ROOT
from tests.unit.client.drivers import Driver, failure
from tests.unit.client.fakes import Fake
from tests.unit.client.test_client_connection import served

GET, LIST = pb.GetBookingRequest(booking_id="b1"), pb.ListBookingsRequest()
AWAY = "127.0.0.1:1"


class Signed(grpc.AuthMetadataPlugin):
    """A caller's own way to say who they are."""

    def __call__(self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback) -> None:
        callback((("authorization", "Bearer signed"),), None)


def bookings(made: Any) -> Any:
    return bookings_pb2_grpc.BookingsServiceStub(made)


async def test_a_call_that_asks_for_compression_is_sent_without(client: Driver, fake: Fake) -> None:
    """Services refuse compressed requests, and so does the fake."""
    stub = bookings(client.channel(fake.address, token="t"))  # noqa: S106  # of a fake
    await client.call(stub.GetBooking, GET, compression=grpc.Compression.Gzip)
    await client.stream(stub.ListBookings, LIST, compression=grpc.Compression.Gzip)
    assert [seen.metadata["authorization"] for seen in fake.seen] == ["Bearer t"] * 2


async def test_keys_of_metadata_may_be_bytes(client: Driver, fake: Fake) -> None:
    stub = bookings(client.channel(fake.address, token="t"))  # noqa: S106  # of a fake
    await client.call(stub.GetBooking, GET, metadata=((b"x-own", "1"), (b"authorization", "Bearer own")))
    assert (fake.seen[0].metadata["x-own"], fake.seen[0].metadata["authorization"]) == ("1", "Bearer own")


async def test_a_caller_with_credentials_of_their_own_needs_no_token(client: Driver) -> None:
    ca = trustme.CA()
    own = grpc.metadata_call_credentials(Signed())
    with served(ca, "localhost") as fake:
        tls = client.api.Tls(ca=ca.cert_pem.bytes())
        stub = bookings(client.channel(f"localhost:{fake.port}", token="t", tls=tls))  # noqa: S106  # of a fake
        await client.call(stub.GetBooking, GET, credentials=own)
        await client.stream(stub.ListBookings, LIST, credentials=own)
        await client.call(stub.GetBooking, GET)
        said = [seen.metadata["authorization"] for seen in fake.seen]
    assert said == ["Bearer signed", "Bearer signed", "Bearer t"]


async def test_who_waits_for_no_connection_is_told_at_once(client: Driver) -> None:
    stub = bookings(client.channel(AWAY))
    for call in (client.call(stub.GetBooking, GET, timeout=0.5), client.stream(stub.ListBookings, LIST, timeout=0.5)):
        assert (await failure(call)).code() is StatusCode.UNAVAILABLE
    for wait in (
        client.call(stub.GetBooking, GET, timeout=0.5, wait_for_ready=True),
        client.stream(stub.ListBookings, LIST, timeout=0.5, wait_for_ready=True),
    ):
        assert (await failure(wait)).code() is StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("timeout", [math.inf, 1e10, 1e300])
async def test_a_timeout_that_never_comes_is_a_year(client: Driver, fake: Fake, timeout: float) -> None:
    stub = bookings(client.channel(fake.address))
    await client.call(stub.GetBooking, GET, timeout=timeout)
    assert await client.stream(stub.ListBookings, LIST, timeout=timeout)
    left = [seen.seconds_left for seen in fake.seen]
    assert left[0] is not None
    assert left[0] < 6  # what the method has
    assert left[1] is not None
    assert left[1] > 300 * 86_400


async def test_a_timeout_that_is_no_number_is_refused(client: Driver, fake: Fake) -> None:
    stub = bookings(client.channel(fake.address))
    for call in (client.call(stub.GetBooking, GET, timeout=math.nan), client.stream(stub.ListBookings, LIST, timeout=math.nan)):
        error = await failure(call)
        assert error.code() is StatusCode.INVALID_ARGUMENT
        assert "nan" in (error.details() or "")
    assert not fake.seen


async def test_a_closed_channel_refuses_and_the_process_lives(client: Driver, fake: Fake) -> None:
    made = client.channel(fake.address)
    stub = bookings(made)
    await client.call(stub.GetBooking, GET)
    await client.close()
    for call in (client.call(stub.GetBooking, GET), client.stream(stub.ListBookings, LIST), client.pages(stub.ListBookings, LIST)):
        with pytest.raises((ValueError, grpc.RpcError), match="closed"):
            await call


def test_a_failure_of_the_clients_own_can_be_sent_to_another_process() -> None:
    made = CallFailed(StatusCode.UNAVAILABLE, "down", [("k", "v"), ("grpc-status-details-bin", b"\xff")])
    for same in (pickle.loads(pickle.dumps(made)), copy.copy(made), like(made)):  # noqa: S301  # made here
        assert (same.code(), same.details(), tuple(same.trailing_metadata())) == (
            made.code(), made.details(), tuple(made.trailing_metadata()),
        )  # fmt: skip


def test_a_method_whose_module_comes_later_is_known_then() -> None:
    path = "/teppan.tests.later.Later/Do"
    assert method_of(path) == Method()
    file = descriptor_pb2.FileDescriptorProto(name="later.proto", package="teppan.tests.later", syntax="proto3")
    file.message_type.add(name="Empty")
    file.service.add(name="Later").method.add(
        name="Do", input_type=".teppan.tests.later.Empty", output_type=".teppan.tests.later.Empty"
    )
    descriptor_pool.Default().Add(file)
    assert method_of(path).request is not None


FORKS = """
import os
from grpc_health.v1 import health_pb2, health_pb2_grpc
from teppan.client import channel
stub = health_pb2_grpc.HealthStub(channel("127.0.0.1:1"))
if os.fork() == 0:
    try:
        stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


def test_a_channel_of_before_a_fork_says_so_in_the_child() -> None:
    environ = {"PYTHONPATH": str(ROOT / "protos" / "python")}
    done = subprocess.run([sys.executable, "-c", FORKS], env=environ, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("the channel was made before this process was forked: make channels in the child")
