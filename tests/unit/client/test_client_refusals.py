"""A refusal is taken apart, whoever raised it, and what cannot be read harms nothing."""

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import status_pb2
from grpc import StatusCode
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.bookings.v1 import bookings_pb2_grpc
from teppan.client import Refusal, refusal
from teppan.client.refusals import DETAILS_KEY, CallFailed

from tests.unit.client.drivers import Driver
from tests.unit.client.fakes import Fake, fail


async def refused(client: Driver, fake: Fake) -> Refusal:
    stub = bookings_pb2_grpc.BookingsServiceStub(client.channel(fake.address))
    with pytest.raises(grpc.RpcError) as caught:
        await client.call(stub.GetBooking, pb.GetBookingRequest())
    return client.api.refusal(caught.value)  # type: ignore[no-any-return]  # of two modules


async def test_a_refusal_says_everything(client: Driver, fake: Fake) -> None:
    fake.plan("GetBooking", fail(StatusCode.INVALID_ARGUMENT, "FIELDS_INVALID", 1.5, station_id="no UUID", booking_id="none"))
    assert await refused(client, fake) == Refusal(
        code="INVALID_ARGUMENT",
        reason="FIELDS_INVALID",
        domain="bookings.teppan",
        message="no",
        metadata={"call_id": "c1"},
        fields={"station_id": "no UUID", "booking_id": "none"},
        retry_seconds=1.5,
    )


async def test_a_failure_without_details_has_a_code_and_a_message(client: Driver, fake: Fake) -> None:
    fake.plan("GetBooking", fail(StatusCode.UNIMPLEMENTED))
    assert await refused(client, fake) == Refusal(code="UNIMPLEMENTED", message="no")


def test_a_failure_of_the_clients_own_is_read_too() -> None:
    assert refusal(CallFailed(StatusCode.UNAVAILABLE, "broken")) == Refusal(code="UNAVAILABLE", message="broken")
    assert refusal(grpc.RpcError("nothing")) == Refusal(code="UNKNOWN", message="nothing")


@pytest.mark.parametrize(
    "details",
    [b"\xff", status_pb2.Status(details=[AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")])],
)
async def test_damaged_details_are_none(client: Driver, fake: Fake, details: bytes | status_pb2.Status) -> None:
    raw = details if isinstance(details, bytes) else details.SerializeToString()

    def act(context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata(((DETAILS_KEY, raw),))
        context.abort(StatusCode.NOT_FOUND, "no")

    fake.plan("GetBooking", act)
    assert await refused(client, fake) == Refusal(code="NOT_FOUND", message="no")
