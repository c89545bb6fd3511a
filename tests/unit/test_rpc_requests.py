"""What is refused before it is looked at: broken, compressed, too large, or with too much in it. Nothing of it may cost much."""

import gzip
import io
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import grpc
import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from teppan.bookings.v1 import bookings_pb2
from teppan.common.v1 import options_pb2
from teppan.identity.v1 import stations_pb2

from callers import Caller
from faults import Fault, RequestTooLarge
from rpccommon.auth import Permission
from rpccommon.bounds import NAMED_MAX
from rpccommon.policies import path, policies
from rpccommon.shape import REQUEST_BYTES_MAX, Shape, validate
from service import COMMON
from tests.unit.rpc_bookings import GET, GET_PATH, VIEWER, Bookings, failure, lines
from tests.unit.rpc_stage import STATION, Stage, details, user

LIST_PATH = "/teppan.bookings.v1.BookingsService/ListBookings"
HEALTH, REFLECTION = "/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
BROKEN = [b"\xff\xff\xff", GET.SerializeToString()[:-1], b"\x0a\x02\xc3\x28", b"\x0a\x01\xc3"]
CPU_SECONDS_MAX = 0.02
SERVICES = [
    service for name in ("identity", "bookings", "payments") for service in import_module(f"{name}.__main__").SERVICES
] + list(COMMON)
METHODS = [method for service in SERVICES for method in service.methods]
NOBODY, ADMIN = user(), user(platform=options_pb2.PLATFORM_ROLE_ADMIN)


def raw(on: Stage, method: str, body: bytes, **given: Any) -> Any:
    """A call whose request is these bytes."""
    channel: Any = on.channel
    make = channel.unary_stream if method in {LIST_PATH, f"{HEALTH}Watch"} else channel.unary_unary
    return make(method)(body, **given)


@pytest.mark.parametrize("body", BROKEN)
@pytest.mark.parametrize("method", [GET_PATH, LIST_PATH])
async def test_a_body_that_is_no_message_is_refused_by_name(on: Stage, log: io.StringIO, method: str, body: bytes) -> None:
    error = await failure(raw(on, method, body, metadata=(*VIEWER, ("x-call-id", "c1"))))
    info = details(error)[0]
    assert (error.code(), info.reason, dict(info.metadata)) == (
        grpc.StatusCode.INVALID_ARGUMENT, "BODY_INVALID", {"call_id": "c1"},
    )  # fmt: skip
    assert [(line["code"], line["reason"], line["call_id"]) for line in lines(log)] == [("INVALID_ARGUMENT", "BODY_INVALID", "c1")]
    assert "Traceback" not in log.getvalue()
    assert on.registry.get_sample_value("rpc_calls_total", {"method": method, "code": "INVALID_ARGUMENT"}) == 1


@pytest.mark.parametrize("body", [BROKEN[0], bytes(REQUEST_BYTES_MAX + 1)])
async def test_nothing_of_a_request_is_looked_at_before_its_token(on: Stage, body: bytes) -> None:
    error = await failure(raw(on, GET_PATH, body))
    assert (error.code(), details(error)[0].reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


@pytest.mark.parametrize("method", [f"{HEALTH}Check", f"{HEALTH}Watch"])
async def test_methods_of_others_refuse_it_too(on: Stage, log: io.StringIO, method: str) -> None:
    assert (await failure(raw(on, method, BROKEN[0]))).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not log.getvalue()


async def test_a_stream_of_requests_that_breaks_is_refused_too(on: Stage, log: io.StringIO) -> None:
    channel: Any = on.channel
    assert (await failure(channel.stream_stream(REFLECTION)(iter([BROKEN[0]])))).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not log.getvalue()


async def test_a_request_above_the_methods_limit_is_refused_with_both_figures(on: Stage, bookings: Bookings) -> None:
    unknown = bookings_pb2.CreateBookingRequest(requests="x" * REQUEST_BYTES_MAX)  # a field that GetBooking does not have
    body = GET.SerializeToString() + unknown.SerializeToString()
    error = await failure(raw(on, GET_PATH, body, metadata=VIEWER))
    info = details(error)[0]
    assert (error.code(), info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_TOO_LARGE")
    assert (info.metadata["bytes"], info.metadata["limit"]) == (str(len(body)), "65536")
    assert not bookings.calls


@pytest.mark.parametrize("megabytes", [1, 64])
@pytest.mark.parametrize("metadata", [(), VIEWER])
async def test_a_compressed_request_is_refused_before_it_grows(
    on: Stage, bookings: Bookings, megabytes: int, metadata: Any
) -> None:
    """The server inflates nothing: it says which compression it does not have."""
    bomb = bytes(megabytes << 20)
    assert len(gzip.compress(bomb, 1)) < len(bomb) / 100
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{on.port}", options=options) as channel:
        call: Any = channel.unary_unary(GET_PATH)
        error = await failure(call(bomb, compression=grpc.Compression.Gzip, metadata=metadata))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "'gzip' is disabled" in str(error.details())
    assert not bookings.calls


def test_the_first_elements_that_are_wrong_are_named_and_the_first_beyond_them() -> None:
    shape = Shape(stations_pb2.BatchGetStationsRequest.FromString)
    for wrong, named in ((range(1_000), [f"station_ids[{n}]" for n in range(NAMED_MAX)]), ([500, 600], ["station_ids[500]"])):
        ids = [str(STATION)] * 1_000
        for number in wrong:
            ids[number] = "x"
        with pytest.raises(Fault) as refused:
            shape.tenants(stations_pb2.BatchGetStationsRequest(station_ids=ids))
        assert [field for field in refused.value.fields if field.startswith("station_ids[")] == named  # type: ignore[attr-defined]  # an InvalidArgument


def requests() -> Iterator[Any]:
    """Every repeated, text and bytes field that a request of ours can hold, at any depth, filled to the limit of its method."""
    for method in METHODS:
        size = policies(method.containing_service)[path(method)].max_request_bytes or REQUEST_BYTES_MAX
        for name, body in filled(method.input_type, size - 64, frozenset()):
            yield pytest.param(method, body, id=f"{method.name}-{name}")


def filled(message: Descriptor, size: int, within: frozenset[str]) -> Iterator[tuple[str, bytes]]:
    """Bodies of about that size, each of one field, at any depth."""
    if message.full_name in within:
        return
    for field in message.fields:
        yield from bodies_of(field, size)
        if field.message_type is not None:
            for name, inner in filled(field.message_type, size - 16, within | {message.full_name}):
                yield f"{field.name}.{name}", tagged(field, inner)


def bodies_of(field: FieldDescriptor, size: int) -> Iterator[tuple[str, bytes]]:
    """One field, filled with elements that are empty or wrong, or with one long text."""
    text = field.cpp_type == FieldDescriptor.CPPTYPE_STRING
    elements = [b""] if field.message_type is not None else [b"", b"x", b"\0", str(STATION).encode()]
    if field.is_repeated and (text or field.message_type is not None):
        for element in (tagged(field, element) for element in elements):
            yield f"{field.name}-{element!r}", element * (size // len(element))
    elif field.is_repeated:
        yield f"{field.name}-unknown", tagged(field, b"\x63" * (size - 8))
    elif text:
        yield from ((f"{field.name}-{letter!r}", tagged(field, letter * (size - 8))) for letter in (b"x", b"@", b"\0"))


def tagged(field: FieldDescriptor, content: bytes) -> bytes:
    """A field with its length."""
    return bytes([*varint(field.number << 3 | 2), *varint(len(content))]) + content


def varint(number: int) -> Iterator[int]:
    """The bytes of a number on the wire."""
    while number >= 128:
        yield number % 128 + 128
        number //= 128
    yield number


@pytest.mark.parametrize("who", [NOBODY, ADMIN], ids=["nobody", "admin"])
@pytest.mark.parametrize(("method", "body"), list(requests()))
async def test_no_request_costs_much_before_it_is_refused(method: MethodDescriptor, body: bytes, who: Caller) -> None:
    """In time of the processor: what others do on the machine does not count."""
    policy = policies(method.containing_service)[path(method)]
    shape = Shape(GetMessageClass(method.input_type).FromString, bytes_max=policy.max_request_bytes)
    spent = []
    for _ in range(3):
        began = time.thread_time()
        try:
            request = shape.parse(body)
            Permission(policy).require(who, shape.tenants(request))
            validate(request, body)
        except Fault as fault:
            status = fault.message
        else:
            status = ""
        spent.append(time.thread_time() - began)
    assert min(spent) < CPU_SECONDS_MAX, f"{status[:200]!r} after {min(spent) * 1e3:.1f} ms"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_every_repeated_field_of_a_request_has_a_limit(method: MethodDescriptor) -> None:
    def unbounded(message: Descriptor) -> Iterator[str]:
        for field in message.fields:
            rules = field.GetOptions().Extensions[validate_pb2.field]
            if field.is_repeated and not (rules.repeated.HasField("max_items") or rules.map.HasField("max_pairs")):
                yield field.full_name
            if field.message_type is not None and field.message_type.file.package.startswith("teppan."):
                yield from unbounded(field.message_type)

    assert not list(unbounded(method.input_type))


def test_the_largest_request_is_refused_without_a_look() -> None:
    shape = Shape(stations_pb2.BatchGetStationsRequest.FromString)
    with pytest.raises(RequestTooLarge):
        shape.parse(stations_pb2.BatchGetStationsRequest(station_ids=[""] * 2_000_000).SerializeToString())
