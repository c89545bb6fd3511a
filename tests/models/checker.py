"""A breadth-first search through all states of a model: traces are shortest, and a search that was cut short is no result."""

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

State = TypeVar("State", bound=Hashable)
Step = tuple[str, State]
Origins = dict[State, tuple[State, str] | None]


class Model(Protocol[State]):
    """What is searched."""

    def initial(self) -> Iterable[Step[State]]:
        """The states that it begins in, each with a word on it."""

    def steps(self, state: State) -> Iterable[Step[State]]:
        """What may happen next, each with a label."""

    def broken(self, state: State) -> str | None:
        """What is wrong with a state, as a sentence."""


class Hopeful(Model[State], Protocol[State]):
    """A model with an end that must stay within reach."""

    def ended(self, state: State) -> bool:
        """The end has been reached."""

    def helpful(self, state: State) -> Step[State] | None:
        """One step on the way to the end, without any fault; None where nothing helps any more."""


class TooManyStates(Exception):
    """The bounds of the model are too wide: nothing was shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Generic[State]):
    """What a search found."""

    states: int
    """How many were visited; all there are, unless something is broken."""
    broken: str | None
    trace: tuple[str, ...]
    """From an initial state to the broken one."""
    reached: Origins[State]


def explore(model: Model[State], *, limit: int) -> Found[State]:
    """Visits every state, until one is broken. Raises TooManyStates."""
    reached: Origins[State] = {}
    queue: deque[State] = deque()
    for word, state in model.initial():
        if state not in reached:
            reached[state] = None
            queue.append(state)
            if wrong := model.broken(state):
                return Found(states=len(reached), broken=wrong, trace=(word,), reached=reached)
    while queue:
        state = queue.popleft()
        for label, after in model.steps(state):
            if after in reached:
                continue
            reached[after] = (state, label)
            if wrong := model.broken(after):
                return Found(states=len(reached), broken=wrong, trace=trace_to(after, reached), reached=reached)
            queue.append(after)
            if len(reached) > limit:
                raise TooManyStates(f"more than {limit:,} states, {len(queue):,} of them not looked at")
    return Found(states=len(reached), broken=None, trace=(), reached=reached)


def trace_to(state: State, reached: Origins[State]) -> tuple[str, ...]:
    """The labels on the way to a state."""
    labels = []
    while origin := reached[state]:
        state, label = origin
        labels.append(label)
    return tuple(reversed(labels))


def dead_end(model: Hopeful[State], reached: Origins[State], *, limit: int) -> Found[State] | None:
    """The first state, in the order of the search, from which helpful steps do not lead to the end; None where all do."""
    good: set[State] = set()
    for start in reached:
        path: dict[State, str] = {}
        state, label = start, ""
        while state not in good and not model.ended(state):
            path[state] = label
            step = model.helpful(state)
            if step is None or step[1] in path:
                why = "nothing leads to the end any more" if step is None else f"without end: {step[0]}"
                trace = (*trace_to(start, reached), *list(path.values())[1:])
                return Found(states=len(reached), broken=why, trace=trace, reached=reached)
            label, state = step
            if len(path) > limit:
                raise TooManyStates(f"more than {limit:,} helpful steps lead nowhere")
        good.update(path)
        good.add(state)
    return None
