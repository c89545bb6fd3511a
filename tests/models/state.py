"""The state of the reference protocol: named tuples, because the search hashes and copies little else.

There is one thing, so its version, its place in the feed and its index in `log` are the same number: each change raises the
version by one and makes one event. Only a failover cuts the log, and begins epoch 1; before, everything is of epoch 0.
"""

from typing import NamedTuple

OPEN, DELETED, PURGING, PURGED = "OPEN", "DELETED", "PURGING", "PURGED"
CLOSING, CLOSED = "CLOSING", "CLOSED"
BEYOND = (PURGING, PURGED)
NONE, ROW, BACK = "none", "row", "brought back"
NEVER, LOST = -1, -2


class Branch(NamedTuple):
    """An owner's database."""

    log: tuple[str, ...] = (OPEN,)
    """The thing's state at each version."""
    published: int = 0
    """The head of the feed: events up to this version."""
    before: tuple[int, ...] = (0,)
    """How much was published when each version was committed: a standby has a prefix of the primary's WAL."""
    first: int = 0
    """The first version published in epoch 1; 0 where there is no such epoch."""

    @property
    def epoch(self) -> int:
        return 1 if self.first else 0

    @property
    def version(self) -> int:
        return len(self.log) - 1

    @property
    def thing(self) -> str:
        return self.log[-1]

    def epoch_of(self, version: int) -> int:
        return 1 if self.first and version >= self.first else 0

    def knows(self, epoch: int, position: int) -> bool:
        """Whether a cursor is inside its epoch."""
        return position <= self.published if epoch == self.epoch else epoch == 0 and position < self.first


class Asked(NamedTuple):
    """A purge under way, in the memory of one of the owner's processes."""

    epoch: int
    version: int
    registry: frozenset[int]
    zero: frozenset[int]
    """Who has answered 0."""
    counted: frozenset[int] = frozenset()
    """Who has counted 0, and has not looked at the known row yet: only where a rule is left out."""


class Known(NamedTuple):
    """A known row."""

    epoch: int
    version: int
    state: str
    gone: bool = False
    """The tombstone has been applied: CASCADE is due."""


class Write(NamedTuple):
    """An open transaction that refers."""

    kind: str
    checked: bool
    """The row is inserted, the trigger has passed it, and the lock is held; else there is only a snapshot."""


class Heard(NamedTuple):
    """What an owner said: an answer to a miss (with a state), or a head."""

    epoch: int
    version: int
    state: str = ""
    fresh: bool = True
    """Asked after the database's last restart."""


class Copy(NamedTuple):
    """A resynchronisation under way."""

    old: tuple[int, int]
    """The cursor that it is to replace."""
    epoch: int
    head: int | None = None
    version: int | None = None
    state: str = ""


class Durable(NamedTuple):
    """What a referrer's database holds."""

    known: Known | None
    epoch: int = 0
    position: int = 0
    """With `epoch`, the cursor."""
    restrict: str = NONE
    cascade: str = NONE
    ready: bool = True


class Referrer(NamedTuple):
    """A referrer: its database, and what is under way."""

    db: Durable
    write: Write | None = None
    miss: Heard | None = None
    head: Heard | None = None
    copy: Copy | None = None
    backup: Durable | None = None


class State(NamedTuple):
    """Everything."""

    present: Branch
    deposed: Branch | None
    registered: tuple[int, ...]
    """For each referrer, the version of the thing when it registered; NEVER, or LOST at a failover."""
    asked: Asked | None
    referrers: tuple[Referrer, ...]
    failovers: int = 0
    restores: int = 0
    crashes: int = 0
    cascaded: bool = False
    """A CASCADE has removed something."""

    @property
    def registry(self) -> frozenset[int]:
        return frozenset(number for number, at in enumerate(self.registered) if at >= 0)
