"""The failures that a caller is told about.

A fault says what happened, in a sentence for people, a reason for programs (the name of a value of a `Reason` enum in
the protos), and what of the request it is about. `rpccommon.status` turns it into a rich gRPC status, once.
"""

from faults.callers import TokenExpired, TokenInvalid, TokenMissing
from faults.feeds import NOT_FROM_HERE, CursorDiverged, CursorExpired, CursorInvalid, EpochLeft, FeedStale
from faults.kinds import (
    Aborted,
    AlreadyExists,
    Code,
    DeadlineExceeded,
    FailedPrecondition,
    Fault,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Remembered,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from faults.references import NotClosedYet, PurgeUnfinished, ReferenceClosed, ReferenceNotFound, StillReferenced
from faults.requests import (
    BodyInvalid,
    EtagStale,
    LockTimeout,
    PageTokenInvalid,
    RequestIdReused,
    RequestInFlight,
    RequestTooLarge,
)
from faults.servers import DatabaseUnavailable, Overloaded, PeerUnavailable, ReaderTooSlow, ServerStopping

__all__ = [
    "NOT_FROM_HERE",
    "Aborted",
    "AlreadyExists",
    "BodyInvalid",
    "Code",
    "CursorDiverged",
    "CursorExpired",
    "CursorInvalid",
    "DatabaseUnavailable",
    "DeadlineExceeded",
    "EpochLeft",
    "EtagStale",
    "FailedPrecondition",
    "Fault",
    "FeedStale",
    "InvalidArgument",
    "LockTimeout",
    "NotClosedYet",
    "NotFound",
    "Overloaded",
    "PageTokenInvalid",
    "PeerUnavailable",
    "PermissionDenied",
    "PurgeUnfinished",
    "ReaderTooSlow",
    "ReferenceClosed",
    "ReferenceNotFound",
    "Remembered",
    "RequestIdReused",
    "RequestInFlight",
    "RequestTooLarge",
    "ResourceExhausted",
    "ServerStopping",
    "StillReferenced",
    "TokenExpired",
    "TokenInvalid",
    "TokenMissing",
    "Unauthenticated",
    "Unavailable",
]
