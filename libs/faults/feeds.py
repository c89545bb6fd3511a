"""What follows feeds, and who reads them."""

from faults.kinds import Code, Fault, InvalidArgument, Unavailable


class CursorInvalid(InvalidArgument):
    """The cursor is damaged, or of another feed."""

    reason = "CURSOR_INVALID"


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


class FeedStale(Unavailable):
    """Another service has not been heard of for too long."""

    reason = "FEED_STALE"
    common = True


class EpochLeft(FeedStale):
    """What was heard is of an epoch that was left before: of a deposed primary, which must be fenced."""


NOT_FROM_HERE = frozenset({CursorDiverged.reason, CursorExpired.reason, CursorInvalid.reason})
"""Why an owner's feed does not go on from a cursor: who follows it begins anew. Invalid are all cursors once its key is another."""
