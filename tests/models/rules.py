"""The rules of references as switches, and the scenarios that they are tried in."""

from dataclasses import dataclass
from enum import Enum


class Step2(Enum):
    """How closing a known row ends."""

    FENCE = "changes a key column: waits for open writes, and fails those on an older snapshot"
    WAIT = "locks the row FOR UPDATE and changes no key column: waits for open writes only"
    PLAIN = "changes the state only: waits for nobody"


class Miss(Enum):
    """What a miss's answer may do to a known row that is there."""

    NOTHING = "inserts only"
    RAISE = "replaces a lower version, or another epoch"
    REPLACE = "replaces whatever is there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Each is True, or the first of its kind, where the rule holds. The numbers are those of docs/references.md."""

    lock: bool = True
    """1: a write takes the known row FOR KEY SHARE, until it commits."""
    guard: bool = True
    """1: a write is refused unless the known row is OPEN."""
    miss: Miss = Miss.NOTHING
    """1: a miss's answer only inserts."""
    miss_epoch: bool = True
    """1: a miss's answer is stored only in the epoch that the feed is in."""
    miss_open_only: bool = True
    """1, mended: only an OPEN answer is stored."""
    other_epoch_applies: bool = True
    """2: an event of another epoch than the row's always applies."""
    higher_only: bool = True
    """2: within an epoch only a higher version applies."""
    step2: Step2 = Step2.FENCE
    """2: closing ends in a transaction that waits for every open write."""
    markers_stay: bool = True
    """3: a known row that is not OPEN is never deleted."""
    markers_for_all: bool = True
    """3: a closing is recorded for things never used here, too."""
    count_closed: bool = True
    """4: only a CLOSED or PURGED row answers."""
    count_epoch: bool = True
    """4: ... at exactly the epoch that was asked for."""
    count_version: bool = True
    """4: ... at exactly the version that was asked for."""
    count_after_look: bool = True
    """4, made plain: the known row is looked at first, or in the same snapshot as what is counted."""
    errors_are_not_zero: bool = True
    """4: NOT_CLOSED_YET is no answer."""
    purge_announces: bool = True
    """5: a purge begins by raising the version and announcing DELETED in the present epoch."""
    tombstone_announced_again: bool = True
    """5, mended: a purge that is taken up in PURGING does likewise with its tombstone."""
    purge_epoch: bool = True
    """5: PURGING compares the epoch that was asked about."""
    purge_version: bool = True
    """5: ... the version."""
    purge_asks: bool = True
    """5: ... and needs an answer of 0 from every registered referrer."""
    purge_published: bool = True
    """5, mended: ... and only once what the purge announced is published."""
    purged_asks: bool = True
    """5: PURGED needs an answer of 0 left from every registered referrer; cursors prove nothing."""
    undelete_refused: bool = True
    """5: from PURGING on."""
    purged_last: bool = True
    """5: a referrer marks PURGED last, after CASCADE (and so after step 2)."""
    tombstone_kept: bool = True
    """5, mended: that CASCADE is due is durable at the referrer."""
    registers_first: bool = True
    """6: a service registers before its first write."""
    registration_waits: bool = True
    """6: while a purge is unfinished."""
    purge_registry: bool = True
    """6: PURGING compares the registry with the one that was asked."""
    registration_durable: bool = True
    """6, mended: a registration is acknowledged only when no failover can lose it."""
    ready: bool = True
    """7: after a restart nothing is written before the handshake."""
    head_fresh: bool = True
    """7: the head was reported after the restart."""
    head_after_registration: bool = True
    """7, mended: ... and, of a newcomer, after it had registered."""
    head_applied: bool = True
    """7: everything up to the head was applied."""
    epochs: bool = True
    """Feed: a database in another life begins a new epoch."""
    cursor_checked: bool = True
    """Feed: a cursor beyond its epoch's end diverges, in the middle of a stream, too."""
    epoch_resyncs: bool = False
    """Not a rule: a cursor of an earlier epoch diverges always, and not only beyond that epoch's end."""
    head_first: bool = True
    """Feed: resynchronisation takes the head before the state."""
    copy_fenced: bool = True
    """Feed, mended: what a resynchronisation replaces, it replaces only while the cursor is where it was."""
    copy_two_steps: bool = True
    """Feed, made plain: what a resynchronisation finds not OPEN becomes CLOSING."""
    left_stays_left: bool = True
    """Feed, mended: a consumer does not follow an epoch again that it has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposed:
    """What a deposed primary still does."""

    undeletes: bool = False
    checks: bool = False
    heads: bool = False
    """Reports heads to a referrer that shakes hands."""
    feed: bool = False
    """Goes on with streams and cursors of its epoch."""
    copies: bool = False
    """Answers a resynchronisation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Bounds, and the faults that may happen."""

    kinds: tuple[str, ...] = ("R",)
    """For each referrer, the kinds of its columns: R(ESTRICT), C(ASCADE)."""
    changes: int = 4
    """The highest version that an owner reaches by anything but the end of a purge."""
    known: bool = True
    """Begins with known rows; else without."""
    history: tuple[str, ...] = ("OPEN",)
    """What the thing has been through before; published, unless the relay lags."""
    forget: bool = False
    """OPEN rows that nothing refers to may be deleted."""
    newcomer: bool = False
    """The last referrer has still to register."""
    failovers: int = 0
    lag: bool = False
    """The relay takes its time: what is committed may not be published yet, or never."""
    deposed: Deposed = Deposed()
    restores: int = 0
    crashes: int = 0
    """Of a referrer's processes, where that loses something."""
    processes: bool = False
    """Another process of a referrer may resynchronise while one is at it."""
    agreement: bool = False
    """Looks also for referrers that have applied everything, an event of this epoch too, and do not agree with the owner."""
    strict: bool = False
    """Looks also for those that disagree while no event of this epoch has come."""
    snapshots: bool = False
    """Writes run at REPEATABLE READ."""
