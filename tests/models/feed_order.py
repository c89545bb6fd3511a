"""The order of a feed: writers, a relay and a reader, with three kinds of cursor.

A writer begins (its transaction gets an ID with its first write), locks the row of its entity and raises the version, draws the
number of its event, and commits. What is drawn or given out is never taken back; what is committed is seen in an instant.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

WHOLE = (0, 1_000)
"""All numbers: a round begins at the first, and ends where its first snapshot does."""


class Cursor(Enum):
    """By what a reader asks for what follows."""

    POSITION = "published positions"
    SEQUENCE = "the sequence of the outbox"
    TRANSACTION = "transaction ID and sequence, below the horizon of open transactions"


class Event(NamedTuple):
    """An event that is committed."""

    entity: str
    version: int
    xid: int
    seq: int


class Writer(NamedTuple):
    """A transaction."""

    entity: str
    step: str = "idle"
    xid: int = 0
    seq: int = 0
    version: int = 0


class State(NamedTuple):
    """Everything."""

    writers: tuple[Writer, ...]
    outbox: frozenset[Event] = frozenset()
    """Committed; the relay removes what it moves, the other readers leave it there."""
    moving: tuple[Event, ...] = ()
    """In the relay's transaction, which has its snapshot and has not committed."""
    round: tuple[int, int] = WHOLE
    """What is left of the relay's round: after the first number, up to the second."""
    published: tuple[Event, ...] = ()
    cursor: tuple[int, int] = (0, 0)
    seen: tuple[Event, ...] = ()
    xids: int = 0
    seqs: int = 0


Steps = Iterable[tuple[str, State]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Some writers, and one way to read."""

    cursor: Cursor
    entities: tuple[str, ...] = ("X", "X", "Y")
    """For each writer, the entity that it changes."""
    lock_first: bool = True
    """The event is inserted after the entity's row is locked."""
    batch: int = 2
    """How many events the relay moves at once; after so many it goes on from there, in rounds."""
    rounds_end: bool = True
    """A round ends at the last event that its first snapshot shows."""

    def initial(self) -> Steps:
        """Nothing has happened."""
        yield "", State(tuple(Writer(entity) for entity in self.entities))

    def steps(self, state: State) -> Steps:
        """Whatever may happen."""
        for number in range(len(state.writers)):
            yield from self._writes(state, number)
        yield from self._relays(state)
        yield from self._reads(state)

    def _writes(self, state: State, number: int) -> Iterator[tuple[str, State]]:
        one = state.writers[number]
        name = f"writer {number} of {one.entity}"
        if one.step == "idle":
            after = _put(state, number, one._replace(step="begun", xid=state.xids + 1))
            yield f"{name}: begins as transaction {state.xids + 1}", after._replace(xids=state.xids + 1)
        if one.step == "begun" and not one.seq and not self.lock_first:
            yield _drawn(state, number, "begun")
        if one.step == "begun" and (one.seq or self.lock_first) and not _locked(state, one.entity):
            version = 1 + max((writer.version for writer in state.writers if _same(writer, one)), default=0)
            step = "done" if one.seq else "locked"
            yield f"{name}: locks, makes version {version}", _put(state, number, one._replace(step=step, version=version))
        if one.step == "locked":
            yield _drawn(state, number, "done")
        if one.step == "done":
            event = Event(one.entity, one.version, one.xid, one.seq)
            after = _put(state, number, one._replace(step="committed"))
            yield f"{name}: commits version {one.version}", after._replace(outbox=state.outbox | {event})

    def _relays(self, state: State) -> Iterator[tuple[str, State]]:
        if self.cursor is not Cursor.POSITION:
            return
        if state.moving:
            moved = state._replace(published=state.published + state.moving, moving=())
            yield f"relay: publishes {_words(state.moving)}", moved
            return
        after, until = state.round
        moving = tuple(event for event in sorted(state.outbox, key=lambda event: event.seq) if after < event.seq <= until)[
            : self.batch
        ]
        last = min(until, max((event.seq for event in state.outbox), default=0)) if self.rounds_end else until
        taken = state._replace(moving=moving, outbox=state.outbox - set(moving), round=WHOLE)
        if moving and len(moving) == self.batch:
            yield f"relay: takes {_words(moving)}", taken._replace(round=(moving[-1].seq, last))
        elif moving or state.round != WHOLE:
            yield f"relay: takes {_words(moving) or 'nothing'}, ends its round", taken

    def _reads(self, state: State) -> Iterator[tuple[str, State]]:
        visible = sorted((self._place(state, event), event) for event in self._visible(state))
        found = [(place, event) for place, event in visible if place > state.cursor]
        if found:
            events = tuple(event for _, event in found)
            yield f"reader: reads {_words(events)}", state._replace(cursor=found[-1][0], seen=state.seen + events)

    def _visible(self, state: State) -> Iterable[Event]:
        if self.cursor is Cursor.POSITION:
            return state.published
        if self.cursor is Cursor.SEQUENCE:
            return state.outbox
        horizon = min((one.xid for one in state.writers if one.step in ("begun", "locked", "done")), default=state.xids + 1)
        return [event for event in state.outbox if event.xid < horizon]

    def _place(self, state: State, event: Event) -> tuple[int, int]:
        if self.cursor is Cursor.POSITION:
            return state.published.index(event) + 1, 0
        return (event.seq, 0) if self.cursor is Cursor.SEQUENCE else (event.xid, event.seq)

    def broken(self, state: State) -> str | None:
        """Twice, out of order, or passed for ever."""
        last: dict[str, int] = {}
        for event in state.seen:
            if event.version <= last.get(event.entity, 0):
                return f"version {event.version} of {event.entity} is read after version {last[event.entity]}"
            last[event.entity] = event.version
        for event in self._visible(state):
            if self._place(state, event) <= state.cursor and event not in state.seen:
                return f"version {event.version} of {event.entity} is never read: the cursor is past it"
        return None


def _put(state: State, number: int, writer: Writer) -> State:
    return state._replace(writers=(*state.writers[:number], writer, *state.writers[number + 1 :]))


def _drawn(state: State, number: int, step: str) -> tuple[str, State]:
    one = state.writers[number]
    after = _put(state, number, one._replace(step=step, seq=state.seqs + 1))
    return f"writer {number} of {one.entity}: inserts its event, number {state.seqs + 1}", after._replace(seqs=state.seqs + 1)


def _locked(state: State, entity: str) -> bool:
    return any(one.entity == entity and one.step in ("locked", "done") for one in state.writers)


def _same(writer: Writer, one: Writer) -> bool:
    return writer.entity == one.entity and writer.step == "committed"


def _words(events: Iterable[Event]) -> str:
    return ", ".join(f"version {event.version} of {event.entity}" for event in events)
