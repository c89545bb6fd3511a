"""Another backend: generated stubs on the client's channels, which repeat a call until it is answered, with one effect."""

import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from teppan.bookings.v1 import bookings_pb2_grpc, customers_pb2_grpc, slots_pb2_grpc
from teppan.client import aio
from teppan.identity.v1 import memberships_pb2_grpc, stations_pb2_grpc, tokens_pb2_grpc, users_pb2_grpc
from teppan.payments.v1 import payments_pb2_grpc

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


class Backend:
    """It knows addresses, and plays many people: each call brings its token."""

    def __init__(self, addresses: Mapping[str, str], tls: aio.Tls | None = None) -> None:
        """`host:port` by service."""
        self._channels = {name: aio.channel(address, tls=tls) for name, address in addresses.items()}
        self._stubs: dict[str, Any] = {name: stub(self._channels[service]) for name, (service, stub) in STUBS.items()}

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

    async def call(self, name: str, request: Any, token: str = "") -> Any:
        """The answer; raises AioRpcError where a rule refuses, or nobody answers in a minute."""
        return await self.method(name)(request, metadata=bearer(token))


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata that says who calls."""
    return (("authorization", f"Bearer {token}"),) if token else ()


def new_id() -> str:
    """A request's ID."""
    return str(uuid.uuid4())
