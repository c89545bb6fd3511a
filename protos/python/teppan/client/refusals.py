"""A refusal taken apart: what the `google.rpc` details of a failed call say."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a call failed."""

    code: str
    """The name of the status code: "NOT_FOUND"."""
    reason: str = ""
    """For programs: a name of a `Reason` enum, without the prefix. Empty where no service of Teppan answered, but gRPC or a proxy."""
    domain: str = ""
    """Whose reason it is: "bookings.teppan"."""
    message: str = ""
    """For people; it may change."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the reason says more, and the `call_id` that the service's log has."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Every bad field of the request, by its path, with what is wrong with it."""
    retry_seconds: float | None = None
    """After how long the same call may succeed; None where the service does not say that it may."""


class CallFailed(grpc.aio.AioRpcError):
    """A call that failed here, beside gRPC. It is of aio, whose interceptors may raise nothing else, and does for both."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing: Iterable[tuple[str, str | bytes]] = ()) -> None:
        super().__init__(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details)

    def __reduce__(self) -> tuple[Any, ...]:
        """For `pickle` and `copy`: the base class would be made with other arguments."""
        return type(self), (self.code(), self.details() or "", tuple(self.trailing_metadata()))


def like(error: Any) -> CallFailed:
    """A new error that says what this one of gRPC says. One object, raised again and again, would gather tracebacks for ever."""
    trailing = [(key, value) for key, value in error.trailing_metadata() or ()]
    return CallFailed(error.code(), error.details() or "", trailing)


def refusal(error: grpc.RpcError) -> Refusal:
    """Takes any error of gRPC apart, of `grpc` or of `grpc.aio`."""
    if not hasattr(error, "code"):  # a bare RpcError, which says nothing
        return Refusal(code=grpc.StatusCode.UNKNOWN.name, message=str(error))
    info, bad, retry = _details(error.trailing_metadata())
    delay = retry.retry_delay
    return Refusal(
        code=error.code().name,
        reason=info.reason,
        domain=info.domain,
        message=error.details() or "",
        metadata=dict(info.metadata),
        fields={violation.field: violation.description for violation in bad.field_violations},
        retry_seconds=max(delay.seconds + delay.nanos / 1e9, 0.0) if retry.HasField("retry_delay") else None,
    )


def _details(trailing: Any) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo]:
    """What trailing metadata of either kind hold; empty where they hold nothing, or something that cannot be read."""
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    with suppress(DecodeError):
        for key, value in trailing or ():
            if key == DETAILS_KEY:
                for detail in status_pb2.Status.FromString(value).details:
                    _ = detail.Unpack(info) or detail.Unpack(bad) or detail.Unpack(retry)
    return info, bad, retry
