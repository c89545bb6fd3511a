"""The three services in this process, on real sockets and a real Postgres, and what a test needs to call them."""

import importlib
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.type.timeofday_pb2 import TimeOfDay
from prometheus_client import CollectorRegistry
from teppan.bookings.v1 import bookings_pb2, bookings_pb2_grpc, customers_pb2, customers_pb2_grpc, slots_pb2, slots_pb2_grpc
from teppan.common.v1 import events_pb2_grpc, options_pb2, references_pb2_grpc
from teppan.identity.v1 import memberships_pb2_grpc, stations_pb2, stations_pb2_grpc, tokens_pb2_grpc, users_pb2_grpc
from teppan.payments.v1 import payments_pb2, payments_pb2_grpc

from callers import Caller, Kind
from local import secret
from local.database import SERVICES, Server
from local.stack import environment
from rpccommon.auth import access_token
from service import Serving, serving
from tests.integration.asked import Refusal, booking_request, day, eventually, new, payment_request, refusal_of, refused
from tests.tokens import service_token

__all__ = [
    "Refusal", "Teppan", "booking_request", "choose_ports", "day", "eventually", "new", "payment_request", "refusal_of", "refused",
    "teppan_on",
]  # fmt: skip

TOKEN_LIFETIME = timedelta(minutes=15)
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
PORTS = range(10_000, 30_000)[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) :: PROCESSES]
"""Below those that the kernel hands out, and each test process has its own: nobody gets one between its being chosen and used."""
Metadata = tuple[tuple[str, str], ...]


@dataclass
class Teppan:
    """Three services that run, or some of them."""

    server: Server
    database: str
    secrets: Path
    ports: Mapping[str, int]
    running: dict[str, AsyncExitStack] = field(default_factory=dict)
    registries: dict[str, CollectorRegistry] = field(default_factory=dict)
    """The metrics of each service."""
    channels: dict[str, grpc.aio.Channel] = field(default_factory=dict)
    altered: Callable[[Serving], Serving] = lambda built: built
    """What becomes of what a service's `__main__` builds, before it is served."""

    async def start(self, *services: str) -> None:
        """Starts services, as their `__main__` would."""
        for service in services:
            main = importlib.import_module(f"{service}.__main__")
            config = importlib.import_module(f"{service}.config").read(self.environ(service))
            wanted = self.altered(main.build(config))
            self.running[service], self.registries[service] = AsyncExitStack(), wanted.registry
            await self.running[service].enter_async_context(serving(wanted))
            if service not in self.channels:
                self.channels[service] = grpc.aio.insecure_channel(
                    f"127.0.0.1:{self.ports[service]}", options=[("grpc.max_reconnect_backoff_ms", 200)]
                )

    async def stop(self, *services: str) -> None:
        """Stops services."""
        for service in services:
            await self.running.pop(service).aclose()

    async def close(self) -> None:
        """Ends everything."""
        for channel in self.channels.values():
            await channel.close()
        await self.stop(*reversed(self.running))

    def environ(self, service: str) -> dict[str, str]:
        """What a service is told."""
        urls = self.server.roles(service, self.database)
        return environment(service, ports=self.ports, metrics=0, urls=urls, secrets=self.secrets)

    # Stubs ------------------------------------------------------------------------------------------------------------

    @property
    def stations(self) -> Any:
        return stations_pb2_grpc.StationsServiceStub(self.channels["identity"])

    @property
    def users(self) -> Any:
        return users_pb2_grpc.UsersServiceStub(self.channels["identity"])

    @property
    def members(self) -> Any:
        return memberships_pb2_grpc.MembershipsServiceStub(self.channels["identity"])

    @property
    def tokens(self) -> Any:
        return tokens_pb2_grpc.TokensServiceStub(self.channels["identity"])

    @property
    def customers(self) -> Any:
        return customers_pb2_grpc.CustomersServiceStub(self.channels["bookings"])

    @property
    def slots(self) -> Any:
        return slots_pb2_grpc.SlotsServiceStub(self.channels["bookings"])

    @property
    def bookings(self) -> Any:
        return bookings_pb2_grpc.BookingsServiceStub(self.channels["bookings"])

    @property
    def payments(self) -> Any:
        return payments_pb2_grpc.PaymentsServiceStub(self.channels["payments"])

    def events(self, service: str) -> Any:
        return events_pb2_grpc.EventsServiceStub(self.channels[service])

    def references(self, service: str) -> Any:
        return references_pb2_grpc.ReferencesServiceStub(self.channels[service])

    # Who calls --------------------------------------------------------------------------------------------------------

    def bearer(self, **who: Any) -> Metadata:
        """The metadata of a user: `roles`, `platform_role`, `subject`, `name`."""
        caller = Caller(kind=Kind.USER, subject=str(who.pop("subject", uuid4())), name=who.pop("name", "Ann"), **who)
        pem = load_pem_private_key((self.secrets / "signing.pem").read_bytes(), password=None)
        assert isinstance(pem, Ed25519PrivateKey)
        kid = importlib.import_module("identity.config").kid_of(pem.public_key())
        token = access_token(key=pem, kid=kid, caller=caller, now=datetime.now(UTC), lifetime=TOKEN_LIFETIME)
        return (("authorization", f"Bearer {token}"),)

    @property
    def admin(self) -> Metadata:
        """A platform administrator."""
        return self.bearer(platform_role=options_pb2.PLATFORM_ROLE_ADMIN)

    def member(self, station_id: str, role: int = options_pb2.ROLE_ADMIN) -> Metadata:
        """Somebody with a role in one station."""
        return self.bearer(roles={UUID(station_id): role})

    def service(self, name: str) -> Metadata:
        """One of Teppan's own services."""
        return (("authorization", service_token(name, self.secrets).bearer()),)

    # Things -----------------------------------------------------------------------------------------------------------

    async def station(self, *, time_zone: str = "Europe/Berlin", currency_code: str = "EUR") -> str:
        """A new station; its ID."""
        code = "".join(random.choices("ABCDEFGHJKLMNPQRSTUVWXYZ", k=12))
        request = stations_pb2.CreateStationRequest(
            request_id=new(), code=code, name="Mitte", time_zone=time_zone, currency_code=currency_code
        )
        return str((await self.stations.CreateStation(request, metadata=self.admin)).station.station_id)

    async def turn(self, station_id: str, *verbs: str) -> stations_pb2.Station:
        """Changes a station's state, once for each verb: "Suspend", "Resume", "Delete", "Undelete", "Purge"; the station in the end."""
        for verb in verbs:
            request = getattr(stations_pb2, f"{verb}StationRequest")(request_id=new(), station_id=station_id)
            answer = await getattr(self.stations, f"{verb}Station")(request, metadata=self.admin)
        return answer.station  # type: ignore[no-any-return]  # of any of the five responses

    async def customer(self, station_id: str) -> str:
        """A new customer; their ID."""
        request = customers_pb2.CreateCustomerRequest(
            request_id=new(), station_id=station_id, name="Bo", email=f"{uuid4().hex}@example.com"
        )
        return str((await self.customers.CreateCustomer(request, metadata=self.member(station_id))).customer.customer_id)

    async def booking(self, station_id: str, customer_id: str, **changes: Any) -> bookings_pb2.Booking:
        """A new booking."""
        request = booking_request(station_id, customer_id, **changes)
        answer: bookings_pb2.CreateBookingResponse = await self.bookings.CreateBooking(request, metadata=self.member(station_id))
        return answer.booking

    async def pay(self, station_id: str, booking_id: str, amount_minor: int, **changes: Any) -> payments_pb2.Payment:
        """Cash for a booking."""
        request = payment_request(station_id, booking_id, amount_minor, **changes)
        answer: payments_pb2.CreatePaymentResponse = await self.payments.CreatePayment(request, metadata=self.member(station_id))
        return answer.payment

    async def week(self, station_id: str, *, slots_a_day: int, capacity: int) -> None:
        """Gives a station a schedule of so many slots each day, from midnight on."""
        minutes = 1440 // slots_a_day
        slots = [
            slots_pb2.ScheduledSlot(
                weekday=weekday,
                start=TimeOfDay(hours=n * minutes // 60, minutes=n * minutes % 60),
                length_minutes=minutes,
                capacity=capacity,
            )
            for weekday in range(1, 8)
            for n in range(slots_a_day)
        ]
        request = slots_pb2.UpdateScheduleRequest(request_id=new(), station_id=station_id, slots=slots)
        await self.slots.UpdateSchedule(request, metadata=self.member(station_id))


def choose_ports() -> dict[str, int]:
    """A free port for each service."""
    found: list[int] = []
    while len(found) < len(SERVICES):
        port = random.choice(PORTS)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex(("127.0.0.1", port)):
                found.append(port)
    return dict(zip(SERVICES, found, strict=True))


@asynccontextmanager
async def teppan_on(
    server: Server, database: str, secrets: Path, *, altered: Callable[[Serving], Serving] = lambda built: built
) -> AsyncIterator[Teppan]:
    """All three, running on a database."""
    secret.make(secrets, SERVICES)
    teppan = Teppan(server, database, secrets, choose_ports(), altered=altered)
    try:
        await teppan.start(*SERVICES)
        for service in SERVICES:
            await teppan.channels[service].channel_ready()
        await caught_up(teppan)
        yield teppan
    finally:
        await teppan.close()


async def caught_up(teppan: Teppan) -> None:
    """Returns when new stations can be used everywhere: feeds have begun, and those who follow them are ready."""
    station = await eventually(teppan.station)
    customer = await eventually(lambda: teppan.customer(station))
    booking = await eventually(lambda: teppan.booking(station, customer))
    await eventually(lambda: teppan.pay(station, booking.booking_id, 1))
