"""Faults on the wire and back, and what the policies in the protos become."""

import inspect
import json
from importlib.resources import files
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from teppan.common.v1 import options_pb2

import faults
from faults import Code, Fault, InvalidArgument, PeerUnavailable, Remembered
from rpccommon.policies import PolicyMissing, policies
from rpccommon.status import fault_of, status_of, status_of_bug
from tests.unit.rpc_stage import SERVICES

TEXT = st.text(min_size=1, max_size=50)


class Refused(Fault):
    """A fault of every sort, by its class variables."""

    code = Code.ABORTED
    reason = "REFUSED"


def details_of(status: status_pb2.Status) -> dict[str, Any]:
    """The details of a status by the name of their message."""
    kinds = (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)
    found = {}
    for detail in status.details:
        for kind in kinds:
            message = kind()
            if detail.Unpack(message):
                found[kind.__name__] = message
    return found


def error_of(status: status_pb2.Status | None, code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    """What a client sees of a status."""
    trailing = grpc.aio.Metadata(("x-call-id", "c1"))
    if status is not None:
        trailing.add("grpc-status-details-bin", status.SerializeToString())
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, "" if status is None else status.message)


def grpc_code(code: Code) -> grpc.StatusCode:
    """The same code, as gRPC has it."""
    return next(known for known in grpc.StatusCode if known.value[0] == code.value)


@given(
    message=TEXT,
    metadata=st.dictionaries(
        st.from_regex(r"[a-z_]{1,20}", fullmatch=True).filter(lambda key: key not in {"call_id", "self", "message"}), TEXT
    ),
)
def test_a_refusal_of_a_peer_comes_back_as_it_was_said(message: str, metadata: dict[str, str]) -> None:
    status = status_of(Refused(message, **metadata), service="bookings", call_id="c1")
    back = fault_of(error_of(status, grpc.StatusCode.ABORTED), peer="bookings")
    assert isinstance(back, Remembered)
    assert (back.code, back.reason, back.message, back.metadata) == (Code.ABORTED, "REFUSED", message, metadata)
    assert not back.definite


def every_fault() -> list[type[Fault]]:
    """Each that has a code and a reason."""
    known = [kind for _, kind in inspect.getmembers(faults, inspect.isclass) if issubclass(kind, Fault) and kind is not Remembered]
    return [kind for kind in known if hasattr(kind, "reason") and hasattr(kind, "code")]


@pytest.mark.parametrize("kind", every_fault())
def test_every_fault_has_a_status_and_says_when_to_try_again(kind: type[Fault]) -> None:
    said: Any = {"name": "it is bad"} if issubclass(kind, InvalidArgument) else "no"
    status = status_of(kind(said), service="bookings", call_id="c1")
    found = details_of(status)
    assert status.code == kind.code.value
    assert (found["ErrorInfo"].reason, found["ErrorInfo"].domain) == (kind.reason, "bookings.teppan")
    assert found["ErrorInfo"].metadata["call_id"] == "c1"
    assert ("RetryInfo" in found) == (kind.retry_seconds is not None)
    assert ("BadRequest" in found) == issubclass(kind, InvalidArgument)


def test_every_bad_field_is_in_the_status() -> None:
    fault = InvalidArgument({"a.b": "too long", "c[1]": "no UUID"})
    bad = details_of(status_of(fault, service="bookings", call_id="c1"))["BadRequest"]
    assert {violation.field: violation.description for violation in bad.field_violations} == fault.fields


def test_a_bug_says_where_it_is_in_the_log_and_nothing_else() -> None:
    status = status_of_bug(service="bookings", call_id="c1")
    assert (status.code, status.message) == (13, "internal error, call c1")
    assert dict(details_of(status)["ErrorInfo"].metadata) == {"call_id": "c1"}


@pytest.mark.parametrize(
    "code",
    [
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "CANCELLED",
        "UNKNOWN",
        "INTERNAL",
        "UNIMPLEMENTED",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
    ],
)
def test_a_peer_that_fails_is_unavailable_whatever_it_says(code: str) -> None:
    status = status_of(Refused("no"), service="bookings", call_id="c1")
    fault = fault_of(error_of(status, grpc.StatusCode[code]), peer="bookings")
    assert isinstance(fault, PeerUnavailable)
    assert fault.metadata == {"peer": "bookings"}
    assert fault.message == f"bookings answers {code}: {Refused.reason}", "who reads it is not to look for a broken network"


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_a_failure_without_a_reason_is_the_peers_fault(code: grpc.StatusCode) -> None:
    assert isinstance(fault_of(error_of(None, code), peer="bookings"), PeerUnavailable)


def test_details_that_are_damaged_count_as_none() -> None:
    error = error_of(None, grpc.StatusCode.NOT_FOUND)
    error.trailing_metadata().add("grpc-status-details-bin", b"\xff\xff")
    assert isinstance(fault_of(error, peer="bookings"), PeerUnavailable)


def test_a_code_that_no_fault_has_is_the_peers_fault() -> None:
    status = status_of(Refused("no"), service="bookings", call_id="c1")
    assert isinstance(fault_of(error_of(status, grpc.StatusCode.OUT_OF_RANGE), peer="bookings"), PeerUnavailable)


def test_the_policies_are_found_by_the_path_on_the_wire() -> None:
    found = policies(*SERVICES)
    assert found["/teppan.bookings.v1.BookingsService/CreateBooking"].permission == "bookings.create"
    assert found["/grpc.health.v1.Health/Check"].scope == options_pb2.SCOPE_PUBLIC
    assert "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" in found


GOOD = options_pb2.MethodPolicy(
    scope=options_pb2.SCOPE_STATION, role=options_pb2.ROLE_VIEWER, retry=options_pb2.RETRY_CLASS_READ, permission="a.b"
)


def described(policy: options_pb2.MethodPolicy | None, *, client_streaming: bool = False) -> ServiceDescriptor:
    """A service with one method."""
    file = descriptor_pb2.FileDescriptorProto(
        name="a.proto", package="a", syntax="proto3", dependency=["teppan/common/v1/options.proto"]
    )
    file.message_type.add(name="M")
    method = file.service.add(name="S").method.add(
        name="Do", input_type=".a.M", output_type=".a.M", client_streaming=client_streaming
    )
    if policy is not None:
        method.options.Extensions[options_pb2.policy].CopyFrom(policy)
    pool = descriptor_pool.DescriptorPool()
    for known in (descriptor_pb2.DESCRIPTOR, options_pb2.DESCRIPTOR.dependencies[1], options_pb2.DESCRIPTOR):
        pool.AddSerializedFile(known.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName("a.S")


def without(field: str) -> options_pb2.MethodPolicy:
    """The good policy without one of its fields."""
    policy = options_pb2.MethodPolicy()
    policy.CopyFrom(GOOD)
    policy.ClearField(field)  # type: ignore[arg-type]  # the name of a field
    return policy


def test_a_complete_policy_is_taken() -> None:
    assert policies(described(GOOD))["/a.S/Do"] == GOOD


@pytest.mark.parametrize(
    "service",
    [
        described(None),
        described(GOOD, client_streaming=True),
        *(described(without(name)) for name in ("scope", "role", "retry", "permission")),
    ],
)
def test_a_method_without_a_complete_policy_is_refused_at_the_start(service: ServiceDescriptor) -> None:
    with pytest.raises(PolicyMissing, match="Do"):
        policies(service)


def test_only_what_is_safe_to_repeat_is_repeated_by_the_service_config() -> None:
    config = json.loads((files("teppan") / "service_config.json").read_text())
    retried = {f"/{name['service']}/{name['method']}" for entry in config["methodConfig"] for name in entry["name"]}
    safe = {options_pb2.RETRY_CLASS_READ, options_pb2.RETRY_CLASS_REQUEST_ID}
    ours = {path: policy for path, policy in policies(*SERVICES).items() if path.startswith("/teppan.")}
    assert retried & set(ours) == {path for path, policy in ours.items() if policy.retry in safe}
    assert "/teppan.identity.v1.TokensService/Login" not in retried
    for entry in config["methodConfig"]:
        assert entry["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
        assert 2 <= entry["retryPolicy"]["maxAttempts"] <= 5
        assert "timeout" not in entry, "grpc/grpc#40633: they end early"


def test_bad_fields_are_named_as_many_as_a_client_can_take() -> None:
    fault = InvalidArgument({f"slots[{n}].length_minutes": "value must be greater than or equal to 15" for n in range(2_800)})
    status = status_of(fault, service="bookings", call_id="c")
    assert len(status.SerializeToString()) < 4_000  # in base64, and twice the message: well below the 8 KiB that clients take
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert [detail.Unpack(info) or detail.Unpack(bad) for detail in status.details] == [True, True]
    assert len(bad.field_violations) > 20
    assert int(info.metadata["fields_left_off"]) == 2_800 - len(bad.field_violations)
    assert status.message.startswith("slots[0].length_minutes: value must be greater than or equal to 15; slots[1]")
    assert len(status.message) <= 500
