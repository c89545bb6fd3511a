"""What a request brings with it, or meets: its size, its ID, its etag, its page token, a lock."""

from faults.kinds import Aborted, Code, Fault, InvalidArgument


class BodyInvalid(Fault):
    """The request's bytes are not a message of the method's type."""

    code = Code.INVALID_ARGUMENT
    reason = "BODY_INVALID"
    common = True


class RequestTooLarge(Fault):
    """The request has more bytes than the method takes."""

    code = Code.INVALID_ARGUMENT
    reason = "REQUEST_TOO_LARGE"
    common = True


class PageTokenInvalid(InvalidArgument):
    """The page token is damaged, expired, or of another list."""

    reason = "PAGE_TOKEN_INVALID"


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
