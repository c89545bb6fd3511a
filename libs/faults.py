"""The failures that a caller is told about.

A fault says what happened, in a sentence for people, a reason for programs (the name of a value of a `Reason` enum in
the protos), and what of the request it is about. `rpccommon.status` turns it into a rich gRPC status, once.
"""

from collections.abc import Mapping
from enum import Enum
from typing import ClassVar


class Code(Enum):
    """The gRPC status codes that faults use, by their standard numbers."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Fault(Exception):
    """A refusal. Metadata names things by ID and rules by figure, and never holds private data."""

    code: ClassVar[Code]
    reason: ClassVar[str]
    definite: ClassVar[bool] = False
    """Whether a rule refused, for this request and for every repeat of it: then the refusal is remembered."""
    common: ClassVar[bool] = False
    """Whether the reason is one of `teppan.common.v1.Reason`, and not of the service's own."""
    retry_seconds: ClassVar[float | None] = None
    """After how long the same call may succeed, where it may."""

    def __init__(self, message: str, **metadata: object) -> None:
        """Keeps the sentence, and the metadata as text."""
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = {key: str(value) for key, value in metadata.items()}


class InvalidArgument(Fault):
    """The request is malformed; `fields` has a sentence for each bad field, by its path."""

    code = Code.INVALID_ARGUMENT
    reason = "FIELDS_INVALID"
    common = True

    def __init__(self, fields: Mapping[str, str], **metadata: object) -> None:
        """Takes every bad field at once."""
        super().__init__("; ".join(f"{path}: {problem}" for path, problem in fields.items()), **metadata)
        self.fields = dict(fields)


class NotFound(Fault):
    """There is no such thing, or none that this caller may know of."""

    code = Code.NOT_FOUND


class AlreadyExists(Fault):
    """Something that must be unique is there already."""

    code = Code.ALREADY_EXISTS
    definite = True


class FailedPrecondition(Fault):
    """A rule refuses, given the present state."""

    code = Code.FAILED_PRECONDITION
    definite = True


class Aborted(Fault):
    """Somebody else was at the same thing; another try may succeed."""

    code = Code.ABORTED
    retry_seconds: ClassVar[float | None] = 0.2


class Unavailable(Fault):
    """Something that is needed does not answer; the same call may succeed later."""

    code = Code.UNAVAILABLE
    retry_seconds = 1.0


class ResourceExhausted(Fault):
    """A limit on work at one time was reached."""

    code = Code.RESOURCE_EXHAUSTED
    retry_seconds = 1.0


class PermissionDenied(Fault):
    """The caller may not; whether the thing exists is not said."""

    code = Code.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"
    common = True


class Unauthenticated(Fault):
    """Nobody knows who is calling."""

    code = Code.UNAUTHENTICATED


class TokenMissing(Unauthenticated):
    """No token came with the call."""

    reason = "TOKEN_MISSING"
    common = True


class TokenInvalid(Unauthenticated):
    """The token is damaged, of another issuer, or signed with an unknown key."""

    reason = "TOKEN_INVALID"
    common = True


class TokenExpired(Unauthenticated):
    """The token was good once."""

    reason = "TOKEN_EXPIRED"
    common = True


class PageTokenInvalid(InvalidArgument):
    """The page token is damaged, expired, or of another list."""

    reason = "PAGE_TOKEN_INVALID"


class CursorInvalid(InvalidArgument):
    """The cursor is damaged, or of another feed."""

    reason = "CURSOR_INVALID"


class RequestIdReused(InvalidArgument):
    """The `request_id` was used for something else."""

    reason = "REQUEST_ID_REUSED"


class RequestInFlight(Aborted):
    """The first call with that `request_id` is still under way."""

    reason = "REQUEST_IN_FLIGHT"
    common = True


class LockTimeout(Aborted):
    """Another transaction held a lock for too long."""

    reason = "LOCK_TIMEOUT"
    common = True


class EtagStale(Aborted):
    """The thing changed since it was read."""

    reason = "ETAG_STALE"
    common = True
    retry_seconds = None


class ReferenceNotFound(NotFound):
    """What a field refers to does not exist at its owner."""

    reason = "REFERENCE_NOT_FOUND"
    common = True


class ReferenceClosed(FailedPrecondition):
    """What a field refers to is not in use."""

    reason = "REFERENCE_CLOSED"
    common = True


class NotClosedYet(Fault):
    """A thing is not closed here at the version that its owner asks about; an answer would acknowledge nothing."""

    code = Code.FAILED_PRECONDITION
    reason = "NOT_CLOSED_YET"
    common = True
    retry_seconds = 1.0


class StillReferenced(Fault):
    """Something refers to the thing: gone once that is. Not definite: it is the state of others, and changes without us."""

    code = Code.FAILED_PRECONDITION
    reason = "STILL_REFERENCED"
    common = True


class PurgeUnfinished(Unavailable):
    """A purge is under way that began without the one who registers."""

    reason = "PURGE_UNFINISHED"
    common = True


class PeerUnavailable(Unavailable):
    """The service that would have to be asked does not answer."""

    reason = "PEER_UNAVAILABLE"
    common = True


class FeedStale(Unavailable):
    """Another service has not been heard of for too long."""

    reason = "FEED_STALE"
    common = True


class EpochLeft(FeedStale):
    """What was heard is of an epoch that was left before: of a deposed primary, which must be fenced."""


class DatabaseUnavailable(Unavailable):
    """The database does not answer, or did not say whether it committed."""

    reason = "DATABASE_UNAVAILABLE"
    common = True


class Overloaded(ResourceExhausted):
    """More calls wait for the database than it could serve in time."""

    reason = "OVERLOADED"
    common = True


class ServerStopping(Unavailable):
    """This process is about to stop; another one, or the next, answers."""

    reason = "SERVER_STOPPING"
    common = True


class ReaderTooSlow(Unavailable):
    """The reader of a stream took nothing for too long; it can resume."""

    reason = "READER_TOO_SLOW"
    common = True


class DeadlineExceeded(Fault):
    """It took longer than the deadline allows."""

    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"
    common = True


class CursorDiverged(Fault):
    """The cursor is of an unknown epoch, or past the end of its own."""

    code = Code.FAILED_PRECONDITION
    reason = "CURSOR_DIVERGED"
    common = True


class CursorExpired(Fault):
    """What follows the cursor is no longer kept."""

    code = Code.FAILED_PRECONDITION
    reason = "CURSOR_EXPIRED"
    common = True


class Remembered(Fault):
    """A refusal that was given before, to the same request."""

    def __init__(self, *, code: Code, reason: str, common: bool, message: str, metadata: Mapping[str, str]) -> None:
        """Says again what was said."""
        super().__init__(message, **metadata)
        self.code = code  # type: ignore[misc]  # of the class elsewhere; here of the refusal that was stored
        self.reason = reason  # type: ignore[misc]  # likewise
        self.common = common  # type: ignore[misc]  # likewise
