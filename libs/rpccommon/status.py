"""Faults on the wire: `google.rpc.Status` with ErrorInfo, every bad field, and when to try again."""

from collections.abc import Mapping
from typing import cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from faults import Code, Fault, InvalidArgument, PeerUnavailable, Remembered

DETAILS_KEY = "grpc-status-details-bin"
INTERNAL = 13
VIOLATIONS_BYTES_MAX = 3_000
MESSAGE_CHARACTERS_MAX = 500
"""Both: gRPC clients take 8 KiB of trailing metadata, and details travel in base64; above, even the code is lost."""
PEER_FAILS = frozenset({
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED,
})  # fmt: skip
"""What says something of the peer, or of this service's own token, and nothing of the question: the caller cannot mend it."""


def status_of(fault: Fault, *, service: str, call_id: str) -> status_pb2.Status:
    """A fault as the caller gets it."""
    status = status_pb2.Status(code=fault.code.value, message=_shortened(fault.message))
    metadata = {**fault.metadata, "call_id": call_id}
    bad = _bad_request(fault.fields) if isinstance(fault, InvalidArgument) else None
    if bad is not None and (left_off := len(fault.fields) - len(bad.field_violations)):  # type: ignore[attr-defined]  # `bad` says that it has them
        metadata["fields_left_off"] = str(left_off)
    _add(status, error_details_pb2.ErrorInfo(reason=fault.reason, domain=f"{service}.teppan", metadata=metadata))
    if bad is not None:
        _add(status, bad)
    if fault.retry_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(fault.retry_seconds * 1e9))
        _add(status, retry)
    return status


def status_of_bug(*, service: str, call_id: str) -> status_pb2.Status:
    """A fault of ours: nothing but where to find it in the log."""
    status = status_pb2.Status(code=INTERNAL, message=f"internal error, call {call_id}")
    _add(status, error_details_pb2.ErrorInfo(reason="BUG", domain=f"{service}.teppan", metadata={"call_id": call_id}))
    return status


def _shortened(message: str) -> str:
    return message if len(message) <= MESSAGE_CHARACTERS_MAX else f"{message[: MESSAGE_CHARACTERS_MAX - 4]} ..."


def _bad_request(fields: Mapping[str, str]) -> error_details_pb2.BadRequest:
    """The bad fields, as many as fit."""
    bad = error_details_pb2.BadRequest()
    for path, problem in fields.items():
        bad.field_violations.add(field=path, description=problem)
        if bad.ByteSize() > VIOLATIONS_BYTES_MAX:
            del bad.field_violations[-1]
            break
    return bad


def retry_seconds(status: status_pb2.Status) -> float | None:
    """When to try again, where that is said."""
    retry = error_details_pb2.RetryInfo()
    return next((retry.retry_delay.ToTimedelta().total_seconds() for detail in status.details if detail.Unpack(retry)), None)


def fault_of(error: grpc.aio.AioRpcError, *, peer: str) -> Fault:
    """What a peer's failure means to the one who asked it: PeerUnavailable, or what the peer refused."""
    info, number = error_info(error), int(error.code().value[0])
    if error.code() in PEER_FAILS:
        if info is None:
            return PeerUnavailable(f"{peer} does not answer", peer=peer)
        return PeerUnavailable(f"{peer} answers {error.code().name}: {info.reason}", peer=peer, answered=info.reason)
    if info is None or number not in {code.value for code in Code}:
        return PeerUnavailable(f"{peer} answers {error.code().name} without a reason", peer=peer)
    return Remembered(
        code=Code(number),
        reason=info.reason,
        common=False,
        message=error.details() or "",
        metadata={key: value for key, value in info.metadata.items() if key != "call_id"},
    )


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    """The ErrorInfo of a failed call, where it has one."""
    details = [value for key, value in (error.trailing_metadata() or ()) if key == DETAILS_KEY]
    if not details:
        return None
    try:
        status = status_pb2.Status.FromString(cast("bytes", details[0]))
    except DecodeError:
        return None
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return info
    return None


def _add(
    status: status_pb2.Status, detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo
) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)
