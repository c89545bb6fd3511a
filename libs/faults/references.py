"""References to other services' things, closings, and purges."""

from faults.kinds import Code, FailedPrecondition, Fault, NotFound, Unavailable


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
