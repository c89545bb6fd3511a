"""A server, its database, and those it calls."""

from faults.kinds import ResourceExhausted, Unavailable


class PeerUnavailable(Unavailable):
    """The service that would have to be asked does not answer, or answers that it cannot: `answered` is its reason then."""

    reason = "PEER_UNAVAILABLE"
    common = True

    def __init__(self, message: str, *, answered: str = "", **metadata: object) -> None:
        """Keeps what the peer said for who asked it; further callers have the sentence."""
        super().__init__(message, **metadata)
        self.answered = answered


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
