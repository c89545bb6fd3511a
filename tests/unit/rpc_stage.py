"""A small stage for tests of rpccommon: a real server on loopback with tiny servicers, and peers and users that call it."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.rpc import error_details_pb2, status_pb2
from prometheus_client import CollectorRegistry
from teppan.bookings.v1 import bookings_pb2, bookings_pb2_grpc
from teppan.common.v1 import events_pb2, events_pb2_grpc, references_pb2, references_pb2_grpc
from teppan.identity.v1 import tokens_pb2, tokens_pb2_grpc

from callers import Caller, Kind
from rpccommon.auth import ServiceToken, Verifier, access_token
from rpccommon.calls import LIMITS, Calls
from rpccommon.client import Peer
from rpccommon.keys import FixedKeys, public_jwk
from rpccommon.places import Limits
from rpccommon.policies import policies
from rpccommon.revocations import Revocations
from rpccommon.server import Server
from rpccommon.telemetry import Telemetry

USER_KEY = Ed25519PrivateKey.generate()
SERVICE_KEY = Ed25519PrivateKey.generate()
STATION = UUID("019a0000-0000-7000-8000-000000000001")
OTHER_STATION = UUID("019a0000-0000-7000-8000-000000000002")
USER = UUID("019a0000-0000-7000-8000-00000000000a")
SERVICES = (
    references_pb2.DESCRIPTOR.services_by_name["ReferencesService"],
    events_pb2.DESCRIPTOR.services_by_name["EventsService"],
    bookings_pb2.DESCRIPTOR.services_by_name["BookingsService"],
    tokens_pb2.DESCRIPTOR.services_by_name["TokensService"],
)
ADD = (
    references_pb2_grpc.add_ReferencesServiceServicer_to_server,
    events_pb2_grpc.add_EventsServiceServicer_to_server,
    bookings_pb2_grpc.add_BookingsServiceServicer_to_server,
    tokens_pb2_grpc.add_TokensServiceServicer_to_server,
)


def now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


def fixed_keys(kid: str, key: Ed25519PrivateKey) -> FixedKeys:
    """One key, by way of its JWK Set."""
    return FixedKeys.from_jwks(json.dumps({"keys": [public_jwk(kid, key.public_key())]}))


def verifier(clock: Callable[[], datetime] = now) -> Verifier:
    """Knows one key of identity, and one of the service `bookings`."""
    return Verifier(fixed_keys("k1", USER_KEY), fixed_keys("bookings", SERVICE_KEY), Revocations(nothing, clock), clock)


async def nothing(_: events_pb2.StreamEventsRequest) -> AsyncGenerator[events_pb2.StreamEventsResponse, None]:
    """A feed in which nobody was ever closed."""
    return
    yield events_pb2.StreamEventsResponse()  # what makes this a generator


def user(**roles: int) -> Caller:
    """A user: `station=1` is a viewer of STATION, `other=...` of OTHER_STATION, `platform=...` the role on the platform."""
    stations = {"station": STATION, "other": OTHER_STATION}
    held = {stations[name]: role for name, role in roles.items() if name in stations}
    return Caller(kind=Kind.USER, subject=str(USER), name="Ann", platform_role=roles.get("platform", 0), roles=held)


def bearer(caller: Caller, *, at: datetime | None = None) -> tuple[tuple[str, str], ...]:
    """The metadata of a user's call."""
    token = access_token(key=USER_KEY, kid="k1", caller=caller, now=at or now(), lifetime=timedelta(days=1))
    return (("authorization", f"Bearer {token}"),)


@dataclass
class Stage:
    """A running server, and a service that calls it."""

    port: int
    server: Server
    calls: Calls
    peer: Peer
    channel: grpc.aio.Channel
    registry: CollectorRegistry
    held: list[str] = field(default_factory=list)
    """What the present task holds, as far as `idle` is concerned."""

    @property
    def bookings(self) -> Any:
        """A stub without a token."""
        return bookings_pb2_grpc.BookingsServiceStub(self.channel)


async def ready() -> str | None:
    """Always."""
    return None


@asynccontextmanager
async def stage(
    *servicers: object, fresh: Callable[[], None] | None = None, patience: float = 60.0, message_seconds: float = 10.0,
    limits: Limits = LIMITS,
) -> AsyncIterator[Stage]:  # fmt: skip
    """Serves the servicers; each stands for the service whose servicer class it inherits from."""
    held: list[str] = []

    def idle() -> None:
        assert not held, f"holds {held}"

    def register(server: grpc.aio.Server) -> None:
        for servicer in servicers:
            for descriptor, add in zip(SERVICES, ADD, strict=True):
                if any(base.__name__ == f"{descriptor.name}Servicer" for base in type(servicer).__mro__):
                    add(servicer, server)  # type: ignore[operator]  # of several types, each fits its own

    registry = CollectorRegistry()
    calls = Calls(
        "test",
        policies(*SERVICES),
        verifier(),
        Telemetry("test", registry),
        fresh=fresh,
        idle=idle,
        reader_patience=patience,
        message_seconds=message_seconds,
        limits=limits,
    )
    names = [descriptor.full_name for descriptor in SERVICES]
    server = Server("test", "127.0.0.1:0", calls, [register], names, ready, drain_seconds=0)
    port = await server.start()
    token = ServiceToken("bookings", SERVICE_KEY, now)
    peer = Peer("test", f"127.0.0.1:{port}", token, idle)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            yield Stage(port=port, server=server, calls=calls, peer=peer, channel=channel, registry=registry, held=held)
        finally:
            await peer.close()
            await server.stop()


def details(error: grpc.aio.AioRpcError) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, float]:
    """What the rich status of a failed call holds; the last are the seconds to wait, -1 where it says none."""
    status = status_pb2.Status.FromString(error.trailing_metadata()["grpc-status-details-bin"])
    info, bad, retry, seconds = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo(), -1.0
    for detail in status.details:
        _ = detail.Unpack(info) or detail.Unpack(bad)
        if detail.Unpack(retry):
            seconds = retry.retry_delay.ToTimedelta().total_seconds()
    return info, bad, seconds
