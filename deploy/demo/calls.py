"""Calls that are made until they are answered: the same request again, with the same `request_id`, has one effect."""

import asyncio
import random
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from google.rpc import error_details_pb2, status_pb2
from teppan.bookings.v1 import bookings_pb2_grpc, customers_pb2_grpc, slots_pb2_grpc
from teppan.identity.v1 import memberships_pb2_grpc, stations_pb2_grpc, tokens_pb2_grpc, users_pb2_grpc
from teppan.payments.v1 import payments_pb2_grpc

CALL_SECONDS = 10.0
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = (0.05, 1.0)
AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
"""What may succeed later. CANCELLED is what grpc.aio gives to calls that a stopping server had queued."""
STUBS = {
    "stations": ("identity", stations_pb2_grpc.StationsServiceStub),
    "users": ("identity", users_pb2_grpc.UsersServiceStub),
    "members": ("identity", memberships_pb2_grpc.MembershipsServiceStub),
    "tokens": ("identity", tokens_pb2_grpc.TokensServiceStub),
    "customers": ("bookings", customers_pb2_grpc.CustomersServiceStub),
    "slots": ("bookings", slots_pb2_grpc.SlotsServiceStub),
    "bookings": ("bookings", bookings_pb2_grpc.BookingsServiceStub),
    "payments": ("payments", payments_pb2_grpc.PaymentsServiceStub),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call was refused."""

    code: str
    reason: str
    message: str


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """Takes the rich status apart."""
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(info)
    return Refusal(error.code().name, info.reason, error.details() or "")


class Backend:
    """Another backend: it knows addresses, and a token for each call."""

    def __init__(self, addresses: Mapping[str, str], ca: bytes | None = None) -> None:
        """`host:port` by service; with `ca` over TLS, to servers of that authority."""
        self._channels = {name: _channel(address, ca) for name, address in addresses.items()}
        self._stubs: dict[str, Any] = {name: stub(self._channels[service]) for name, (service, stub) in STUBS.items()}
        self.repeats = 0
        """How many calls had to be made again."""

    async def __aenter__(self) -> Self:
        """The backend."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes its channels."""
        async with AsyncExitStack() as closing:
            for channel in self._channels.values():
                closing.push_async_callback(channel.close)

    def method(self, name: str) -> Any:
        """A method by stub and name: `bookings.CreateBooking`."""
        stub, _, method = name.partition(".")
        return getattr(self._stubs[stub], method)

    async def once(self, name: str, request: Any, token: str = "") -> Any:
        """One call; raises AioRpcError."""
        return await self.method(name)(request, timeout=CALL_SECONDS, metadata=bearer(token))

    async def sure(self, name: str, request: Any, token: str = "") -> Any:
        """The answer, however often it takes to get one; raises AioRpcError where a rule refuses, or nobody answers in a minute."""
        loop = asyncio.get_running_loop()
        end, (pause, most) = loop.time() + PATIENCE_SECONDS, PAUSE_SECONDS
        while True:
            try:
                return await self.once(name, request, token)
            except grpc.aio.AioRpcError as error:
                if error.code() not in AGAIN or loop.time() > end:
                    raise
            self.repeats += 1
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # spreads repeats, guards nothing
            pause = min(pause * 2, most)


def _channel(address: str, ca: bytes | None) -> grpc.aio.Channel:
    options = [("grpc.max_reconnect_backoff_ms", 500)]
    if ca is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(ca), options=options)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata that says who calls."""
    return (("authorization", f"Bearer {token}"),) if token else ()


def new_id() -> str:
    """A request's ID."""
    return str(uuid.uuid4())
