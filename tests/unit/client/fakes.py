"""A server that answers as its script says, and notes what it was asked."""

import base64
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.bookings.v1 import bookings_pb2_grpc, customers_pb2, customers_pb2_grpc, slots_pb2, slots_pb2_grpc
from teppan.identity.v1 import stations_pb2, stations_pb2_grpc, tokens_pb2, tokens_pb2_grpc

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
WAIT_SECONDS = 20.0
ROWS, PAGE_SIZE = 14, 3
OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # as the services have it: what is compressed is refused
]
Act = Callable[[Any], None]
"""What happens in a call, given its context: nothing, or an end of it."""


@dataclass(frozen=True)
class Seen:
    """A call as it arrived."""

    method: str
    request: Any
    metadata: dict[str, str | bytes]
    seconds_left: float | None


@dataclass(frozen=True)
class Break:
    """Where and how a list ends: after so many messages, by an act; without one as if it were complete."""

    after: int
    how: Act | None = None


def fail(code: grpc.StatusCode, reason: str = "", retry_seconds: float | None = None, **fields: str) -> Act:
    """Ends a call as a service does; without a reason, as gRPC or a proxy does."""
    status = status_pb2.Status(code=code.value[0], message="no")
    details: list[Any] = []
    if reason:
        details.append(error_details_pb2.ErrorInfo(reason=reason, domain="bookings.teppan", metadata={"call_id": "c1"}))
    if fields:
        violations = [error_details_pb2.BadRequest.FieldViolation(field=name, description=why) for name, why in fields.items()]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if retry_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(retry_seconds * 1e9))
        details.append(retry)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)

    def act(context: Any) -> None:
        if details:
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, "no")

    return act


def hold(context: Any) -> None:
    """Goes on until the client ends it."""
    ended = threading.Event()
    if context.add_callback(ended.set):
        assert ended.wait(WAIT_SECONDS)
    context.abort(grpc.StatusCode.CANCELLED, "nobody waits")


def jwt(number: int, lifetime: int = 900) -> str:
    """A token that says, by a clock that is decades wrong, how long it is good."""
    payload = base64.urlsafe_b64encode(json.dumps({"n": number, "iat": 1000, "exp": 1000 + lifetime}).encode())
    return f"e30.{payload.decode().rstrip('=')}.{number}"


def ids(pages: list[Any]) -> list[str]:
    """What pages list."""
    return [booking.booking_id for page in pages for booking in page.bookings]


class Clock:
    """A clock that a test sets, in place of a module's `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    sleep = staticmethod(time.sleep)


ALL = [f"b{number:02}" for number in range(ROWS)]
PAGES = -(-ROWS // PAGE_SIZE)


class Fake:
    """All services at once; its list has ALL, in PAGES pages."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None, port: int = 0) -> None:
        self.script: dict[str, deque[Any]] = {}
        self.seen: list[Seen] = []
        self.refused: set[str] = set()
        """Tokens that are not good any more."""
        self.lifetime = 900
        self.logins = 0
        self.entered, self.ended = threading.Semaphore(0), threading.Semaphore(0)
        """Counts calls that have begun, and that are over."""
        self.health = Health(self)
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(24), options=OPTIONS)
        services: Any = Services(self)  # type: ignore[abstract]  # the methods that no test calls
        services.register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        listen = f"127.0.0.1:{port}"
        self.port = self._server.add_secure_port(listen, credentials) if credentials else self._server.add_insecure_port(listen)
        self._server.start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends everything at once."""
        assert self._server.stop(0).wait(WAIT_SECONDS)

    def plan(self, method: str, *acts: Any) -> None:
        """What the next calls of a method do, one each; later ones are answered."""
        self.script[method] = deque(acts)

    def calls(self, method: str) -> list[Seen]:
        """The calls of a method that arrived."""
        return [seen for seen in self.seen if seen.method == method]

    def begin(self, method: str, request: Any, context: Any) -> Any:
        """Notes a call; what its script says."""
        metadata: dict[str, Any] = {}
        for key, value in context.invocation_metadata():
            metadata[key] = f"{metadata[key]}, {value}" if key in metadata else value  # said twice, it shows
        with self._lock:
            self.seen.append(Seen(method, request, metadata, context.time_remaining()))
            script = self.script.get(method)
            act = script.popleft() if script else None
        context.add_callback(self.ended.release)
        self.entered.release()
        if str(metadata.get("authorization", "")).removeprefix("Bearer ") in self.refused:
            fail(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")(context)
        return act

    def answer(self, method: str, request: Any, context: Any) -> None:
        """Begins a call, and returns where it may be answered."""
        if act := self.begin(method, request, context):
            act(context)

    def login(self) -> str:
        """Another token."""
        with self._lock:
            self.logins += 1
            return jwt(self.logins, self.lifetime)


class Health(health.HealthServicer):
    """A service of other people's protos."""

    def __init__(self, fake: Fake) -> None:
        super().__init__()
        self._fake = fake

    def Check(self, request: Any, context: Any) -> Any:
        self._fake.answer("Check", request, context)
        return super().Check(request, context)


class Services(
    bookings_pb2_grpc.BookingsServiceServicer, customers_pb2_grpc.CustomersServiceServicer, slots_pb2_grpc.SlotsServiceServicer,
    stations_pb2_grpc.StationsServiceServicer, tokens_pb2_grpc.TokensServiceServicer,
):  # fmt: skip
    """The methods that the tests call."""

    def __init__(self, fake: Fake) -> None:
        self._fake = fake

    def register(self, server: grpc.Server) -> None:
        bookings_pb2_grpc.add_BookingsServiceServicer_to_server(self, server)
        customers_pb2_grpc.add_CustomersServiceServicer_to_server(self, server)
        slots_pb2_grpc.add_SlotsServiceServicer_to_server(self, server)
        stations_pb2_grpc.add_StationsServiceServicer_to_server(self, server)
        tokens_pb2_grpc.add_TokensServiceServicer_to_server(self, server)

    def GetBooking(self, request: Any, context: Any) -> Any:
        self._fake.answer("GetBooking", request, context)
        return pb.GetBookingResponse(booking=pb.Booking(booking_id=request.booking_id))

    def CreateBooking(self, request: Any, context: Any) -> Any:
        self._fake.answer("CreateBooking", request, context)
        return pb.CreateBookingResponse(booking=pb.Booking(booking_id="b00", reference="TP-00000000"))

    def CancelBooking(self, request: Any, context: Any) -> Any:
        self._fake.answer("CancelBooking", request, context)
        return pb.CancelBookingResponse()

    def ListBookings(self, request: Any, context: Any) -> Iterator[Any]:
        end = self._fake.begin("ListBookings", request, context) or Break(PAGES)
        first = int(request.page_token or 0)
        for number in range(request.page_limit or PAGES):
            if number == end.after:
                if end.how:
                    end.how(context)
                return
            last = first + PAGE_SIZE >= ROWS
            rows = [pb.Booking(booking_id=name) for name in ALL[first : first + PAGE_SIZE]]
            yield pb.ListBookingsResponse(bookings=rows, next_page_token="" if last else str(first + PAGE_SIZE))
            if last:
                break
            first += PAGE_SIZE
        if end.after == number + 1 and end.how:
            end.how(context)

    def SearchAvailability(self, request: Any, context: Any) -> Iterator[Any]:
        end = self._fake.begin("SearchAvailability", request, context) or Break(2)
        for number in range(2):
            if number == end.after and end.how:
                end.how(context)
            yield slots_pb2.SearchAvailabilityResponse(station_id=str(number))

    def CreateCustomer(self, request: Any, context: Any) -> Any:
        self._fake.answer("CreateCustomer", request, context)
        return customers_pb2.CreateCustomerResponse(customer=customers_pb2.Customer(customer_id="c0"))

    def CreateStation(self, request: Any, context: Any) -> Any:
        self._fake.answer("CreateStation", request, context)
        return stations_pb2.CreateStationResponse(station=stations_pb2.Station(station_id="s0"))

    def ListStations(self, request: Any, context: Any) -> Any:
        self._fake.answer("ListStations", request, context)
        number = int(request.page_token or 0)
        station = stations_pb2.Station(station_id=f"s{number}")
        return stations_pb2.ListStationsResponse(stations=[station], next_page_token=str(number + 1) if number < 2 else "")

    def Login(self, request: Any, context: Any) -> Any:
        self._fake.answer("Login", request, context)
        return tokens_pb2.LoginResponse(access_token=self._fake.login())

    def GetKeys(self, request: Any, context: Any) -> Any:
        self._fake.answer("GetKeys", request, context)
        return tokens_pb2.GetKeysResponse(jwks_json="{}")
