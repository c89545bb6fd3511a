"""Nobody sees or changes another station's rows: not without a token, not with a role elsewhere, not past the code."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from importlib import import_module
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.type.date_pb2 import Date
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.bookings.v1 import customers_pb2, slots_pb2
from teppan.common.v1 import options_pb2

from bookings.tables import SCHEMA
from local.database import SERVICES
from rpccommon.policies import OUTSIDE, path, policies
from service import COMMON
from tests.integration.stage import Metadata, Teppan, booking_request, new, refused

MAIN = {service: import_module(f"{service}.__main__") for service in SERVICES}


def methods() -> Iterator[tuple[str, MethodDescriptor]]:
    """Every method of ours, with the service that serves it."""
    for service, main in MAIN.items():
        for descriptor in (*main.SERVICES, *COMMON):
            for method in descriptor.methods:
                yield service, method


def policy_of(method: MethodDescriptor) -> options_pb2.MethodPolicy:
    return policies(method.containing_service)[path(method)]


def named(those: Any) -> Any:
    """For parametrize: each under its name."""
    return [pytest.param(service, method, id=f"{service}-{method.full_name}") for service, method in those]


PROTECTED = [(service, method) for service, method in methods() if policy_of(method).scope != options_pb2.SCOPE_PUBLIC]
OF_STATIONS = [(service, method) for service, method in PROTECTED if policy_of(method).scope == options_pb2.SCOPE_STATION]
WRITES = [(service, method) for service, method in OF_STATIONS if policy_of(method).retry != options_pb2.RETRY_CLASS_READ]


def call(teppan: Teppan, service: str, method: MethodDescriptor, request: Any, who: Metadata = ()) -> Any:
    """Calls a method by its descriptor, as any client could."""
    channel = teppan.channels[service]
    make = channel.unary_stream if method.server_streaming else channel.unary_unary
    answer = GetMessageClass(method.output_type)
    return make(path(method), request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString)(
        request, metadata=who
    )


def request_for(method: MethodDescriptor, station: str = "") -> Any:
    """A request that names a station, and gives every other ID at random."""
    request: Any = GetMessageClass(method.input_type)()
    for field in method.input_type.fields:
        if field.name == "station_ids":
            request.station_ids.append(station)
        elif field.type == FieldDescriptor.TYPE_STRING and field.name.endswith("_id"):
            setattr(request, field.name, station if field.name == "station_id" else new())
    return request


@pytest.fixture
async def station(teppan: Teppan) -> str:
    return await teppan.station()


@pytest.fixture
async def foreign(teppan: Teppan) -> pb.Booking:
    """A booking of another station."""
    station = await teppan.station()
    await teppan.week(station, slots_a_day=8, capacity=2)
    return await teppan.booking(station, await teppan.customer(station))


@pytest.fixture
async def app(teppan: Teppan) -> AsyncIterator[asyncpg.Connection]:
    """As the service's own role."""
    connection = await asyncpg.connect(teppan.server.url(teppan.database, "bookings_app"))
    yield connection
    await connection.close()


def test_every_method_of_ours_is_looked_at() -> None:
    for service, main in MAIN.items():
        known = {path(method) for owner, method in methods() if owner == service}
        assert known | set(OUTSIDE) == set(policies(*main.SERVICES, *COMMON))
    assert len(WRITES) >= 5


@pytest.mark.parametrize(("service", "method"), named(PROTECTED))
async def test_without_a_token_nothing_is_answered(teppan: Teppan, service: str, method: MethodDescriptor) -> None:
    for request in (GetMessageClass(method.input_type)(), request_for(method, new())):
        refusal = await refused(call(teppan, service, method, request))
        assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")


@pytest.mark.parametrize("token", ["x", "Bearer x", "Bearer", "Basic eDp4"])
async def test_a_token_that_is_none_is_refused(teppan: Teppan, station: str, token: str) -> None:
    request = pb.ListBookingsRequest(station_id=station)
    refusal = await refused(teppan.bookings.ListBookings(request, metadata=(("authorization", token),)))
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")


@pytest.mark.parametrize(("service", "method"), named(WRITES))
async def test_who_only_views_writes_nothing(teppan: Teppan, station: str, service: str, method: MethodDescriptor) -> None:
    support = teppan.bearer(platform_role=options_pb2.PLATFORM_ROLE_SUPPORT)
    for who in (teppan.member(station, options_pb2.ROLE_VIEWER), support, teppan.service("payments")):
        refusal = await refused(call(teppan, service, method, request_for(method, station), who))
        assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")


@pytest.mark.parametrize(("service", "method"), named(OF_STATIONS))
async def test_a_role_just_below_the_policys_is_not_enough_and_the_policys_is(
    teppan: Teppan, station: str, service: str, method: MethodDescriptor
) -> None:
    role, request = policy_of(method).role, request_for(method, station)
    refusal = await refused(call(teppan, service, method, request, teppan.member(station, role - 1)))
    assert refusal.reason == "PERMISSION_DENIED"
    try:
        answer = call(teppan, service, method, request, teppan.member(station, role))
        _ = [message async for message in answer] if method.server_streaming else await answer
    except grpc.aio.AioRpcError as error:
        assert error.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}  # noqa: PT017  # or it is answered


@pytest.mark.parametrize(("service", "method"), named(OF_STATIONS))
async def test_a_foreign_station_cannot_be_told_from_none(
    teppan: Teppan, station: str, foreign: pb.Booking, service: str, method: MethodDescriptor
) -> None:
    who = teppan.member(station)
    answers = [
        await refused(call(teppan, service, method, request_for(method, id), who)) for id in (foreign.station_id, new(), new())
    ]
    assert {(answer.code, answer.reason, answer.message) for answer in answers} == {
        ("PERMISSION_DENIED", "PERMISSION_DENIED", answers[0].message)
    }
    assert all(set(answer.metadata) == set(answers[0].metadata) for answer in answers)


async def test_one_foreign_station_among_ones_own_refuses_a_search(teppan: Teppan, station: str, foreign: pb.Booking) -> None:
    today = Date(year=2026, month=6, day=1)
    for other in (foreign.station_id, new()):
        request = slots_pb2.SearchAvailabilityRequest(station_ids=[station, other], first_date=today, last_date=today)
        refusal = await refused(teppan.slots.SearchAvailability(request, metadata=teppan.member(station)))
        assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")


def of_bookings(station: str, booking: str) -> dict[str, Any]:
    """Calls that name a booking."""
    return {
        "GetBooking": pb.GetBookingRequest(station_id=station, booking_id=booking),
        "CancelBooking": pb.CancelBookingRequest(
            request_id=new(), station_id=station, booking_id=booking, cancelled_by=pb.CANCELLED_BY_STATION
        ),
    }


@pytest.mark.parametrize("method", of_bookings("", ""))
@pytest.mark.parametrize("validate_only", [False, True])
async def test_another_stations_booking_is_as_unknown_as_none(
    teppan: Teppan, station: str, foreign: pb.Booking, method: str, *, validate_only: bool
) -> None:
    await teppan.customer(station)
    for who in (teppan.member(station), teppan.admin):
        answers = []
        for id in (foreign.booking_id, new()):
            request = of_bookings(station, id)[method]
            if method == "CancelBooking":
                request.validate_only = validate_only
            refusal = await refused(getattr(teppan.bookings, method)(request, metadata=who))
            assert refusal.metadata["booking_id"] == id
            answers.append((refusal.code, refusal.reason, refusal.message))
        assert answers == [("NOT_FOUND", "BOOKING_NOT_FOUND", answers[0][2])] * 2


async def test_another_stations_customer_is_as_unknown_as_none(teppan: Teppan, station: str, foreign: pb.Booking) -> None:
    answers = []
    for id in (foreign.customer_id, new()):
        refusal = await refused(teppan.bookings.CreateBooking(booking_request(station, id), metadata=teppan.member(station)))
        assert refusal.metadata["customer_id"] == id
        answers.append((refusal.code, refusal.reason, refusal.message))
    assert answers == [("NOT_FOUND", "CUSTOMER_NOT_FOUND", answers[0][2])] * 2


async def test_the_database_isolates_too_where_the_code_forgets_to_ask(
    teppan: Teppan, station: str, foreign: pb.Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpccommon.auth.Permission.require", lambda *_: None)
    own, who = await teppan.booking(station, await teppan.customer(station)), teppan.bearer()
    for method, request in of_bookings(station, foreign.booking_id).items():
        refusal = await refused(getattr(teppan.bookings, method)(request, metadata=who))
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "BOOKING_NOT_FOUND")
    for states in ([], [pb.BOOKING_STATE_PENDING, pb.BOOKING_STATE_CANCELLED]):
        pages = teppan.bookings.ListBookings(pb.ListBookingsRequest(station_id=station, states=states), metadata=who)
        assert [booking.booking_id async for page in pages for booking in page.bookings] == [own.booking_id]
    get = pb.GetBookingRequest(station_id=foreign.station_id, booking_id=foreign.booking_id)
    assert (await teppan.bookings.GetBooking(get, metadata=who)).booking.booking_id == foreign.booking_id  # nobody asked


async def test_the_same_email_serves_in_two_stations(teppan: Teppan, station: str, foreign: pb.Booking) -> None:
    for id in (station, foreign.station_id):
        request = customers_pb2.CreateCustomerRequest(request_id=new(), station_id=id, name="Bo", email="bo@example.com")
        assert (await teppan.customers.CreateCustomer(request, metadata=teppan.member(id))).customer.station_id == id


@pytest.mark.parametrize("setting", [None, "", "another"])
async def test_without_the_setting_or_with_anothers_no_row_is_seen(
    teppan: Teppan, station: str, foreign: pb.Booking, app: asyncpg.Connection, setting: str | None
) -> None:
    super_ = await asyncpg.connect(teppan.server.url(teppan.database))
    if setting is not None:
        await app.execute("SELECT set_config('teppan.station_id', $1, false)", station if setting else "")
    for table in SCHEMA.tenant_tables:
        access = SCHEMA.access[table]
        of_foreign = f"SELECT count(*) FROM bookings.{table} WHERE {access.tenant} = '{foreign.station_id}'"
        if table not in {"outbox", "events"}:  # what is in them goes on to others, or into partitions
            assert await super_.fetchval(of_foreign) > 0, f"nothing in {table} could be seen"
        if "SELECT" not in access.app:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await app.fetchval(of_foreign)
            continue
        assert await app.fetchval(of_foreign) == 0, table
        if not setting:
            assert await app.fetchval(f"SELECT count(*) FROM bookings.{table}") == 0, table
    await super_.close()


@pytest.mark.parametrize("table", [name for name in SCHEMA.tenant_tables if "INSERT" in SCHEMA.access[name].app])
async def test_no_row_is_written_for_another_station(
    teppan: Teppan, station: str, foreign: pb.Booking, app: asyncpg.Connection, table: str
) -> None:
    tenant = SCHEMA.access[table].tenant
    super_ = await asyncpg.connect(teppan.server.url(teppan.database))
    copied = f"SELECT * FROM bookings.{table} WHERE {tenant} = $1 LIMIT 1"
    row = await super_.fetchrow(copied, UUID(foreign.station_id))
    if row is None:  # an event goes on at once
        row = {"station_id": UUID(foreign.station_id), "event_id": UUID(new()), "at": datetime.now(UTC)}
    await super_.close()
    await app.execute("SELECT set_config('teppan.station_id', $1, false)", station)
    names = {column.name for column in SCHEMA.metadata.tables[f"bookings.{table}"].columns if not column.identity}
    values = {name: value for name, value in dict(row).items() if name in names}
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await app.execute(f"INSERT INTO bookings.{table} ({', '.join(values)}) VALUES ({places})", *values.values())


async def test_a_role_of_one_service_cannot_look_into_another(teppan: Teppan) -> None:
    looks = {"identity": "identity.users", "bookings": "bookings.bookings", "payments": "payments.payments"}
    for service in SERVICES:
        for kind in ("app", "platform", "owner"):
            connection = await asyncpg.connect(teppan.server.url(teppan.database, f"{service}_{kind}"))
            for other, table in looks.items():
                if other != service:
                    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=f"permission denied for schema {other}"):
                        await connection.fetch(f"SELECT FROM {table}")
            await connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM bookings.bookings",
        "UPDATE bookings.price_lines SET quantity = 2",
        "TRUNCATE bookings.slots",
        "UPDATE bookings.known_stations SET state = 1",
        "SELECT * FROM bookings.known_users",
        "DELETE FROM bookings.requests",
    ],
)
async def test_the_application_may_do_no_more_than_it_needs(station: str, app: asyncpg.Connection, statement: str) -> None:
    await app.execute("SELECT set_config('teppan.station_id', $1, false)", station)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
        await app.execute(statement)
