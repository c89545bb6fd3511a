"""What the contract says of a method: whether it may be sent again, how long it may take, and whether it needs a token."""

import copy
import functools
import uuid
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from teppan.client.refusals import CallFailed
from teppan.common.v1 import options_pb2

REPEATABLE = (options_pb2.RETRY_CLASS_READ, options_pb2.RETRY_CLASS_REQUEST_ID)
OPEN = (options_pb2.SCOPE_UNSPECIFIED, options_pb2.SCOPE_PUBLIC)

Request = TypeVar("Request")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method's policy. As it stands here, that of a method of other people's protos."""

    repeatable: bool = False
    deadline_seconds: float | None = None
    """The longest that a server grants; None where it does not bound the call, or is not known to."""
    needs_token: bool = False
    request: Descriptor | None = None
    identified: bool = False
    """Whether `request_id` is what makes repeats one effect."""
    sent_max: int | None = None
    """How often a call may reach the service without its answer; None where that does no harm."""

    def sendable(self, request: Request) -> Request:
        """The request as it is now, in a copy with a `request_id`: what its owner does with it later changes no further attempt.

        Raises CallFailed for another method's request.
        """
        if self.request is None:  # of other people's protos, and sent once
            return request
        if not isinstance(request, Message) or request.DESCRIPTOR.full_name != self.request.full_name:
            # gRPC would say INTERNAL, which reads like a connection that broke, and would be tried again.
            said = f"the method takes {self.request.full_name}, and not {type(request).__name__}"
            raise CallFailed(grpc.StatusCode.INVALID_ARGUMENT, said)
        taken = copy.deepcopy(request)
        if self.identified and not taken.request_id:  # type: ignore[attr-defined]  # `identified` says that it has one
            taken.request_id = str(uuid.uuid4())  # type: ignore[attr-defined]  # likewise
        return taken


def method_of(path: str) -> Method:
    """By its name on the wire, "/teppan.bookings.v1.BookingsService/GetBooking"; its stub's module must have been imported."""
    try:
        return _known(path)
    except KeyError:  # at present: its module may be imported later
        return Method()


@functools.cache
def _known(path: str) -> Method:
    descriptor = descriptor_pool.Default().FindMethodByName(path.lstrip("/").replace("/", "."))
    policy = descriptor.GetOptions().Extensions[options_pb2.policy]
    default = policy.default_deadline
    return Method(
        repeatable=policy.retry in REPEATABLE,
        deadline_seconds=default.seconds + default.nanos / 1e9 if policy.HasField("default_deadline") else None,
        needs_token=policy.scope not in OPEN,
        request=descriptor.input_type,
        identified=policy.retry == options_pb2.RETRY_CLASS_REQUEST_ID,
    )
