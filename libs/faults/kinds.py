"""The kinds of failures, by their gRPC status codes; those of services and of the modules beside this one are of these kinds."""

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


class DeadlineExceeded(Fault):
    """It took longer than the deadline allows."""

    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"
    common = True


class Remembered(Fault):
    """A refusal that was given before, to the same request."""

    def __init__(self, *, code: Code, reason: str, common: bool, message: str, metadata: Mapping[str, str]) -> None:
        """Says again what was said."""
        super().__init__(message, **metadata)
        self.code = code  # type: ignore[misc]  # of the class elsewhere; here of the refusal that was stored
        self.reason = reason  # type: ignore[misc]  # likewise
        self.common = common  # type: ignore[misc]  # likewise
