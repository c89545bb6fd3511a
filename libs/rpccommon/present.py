"""The present call, as those see it who work on it: who makes it, under which ID, and how much time is left."""

import asyncio
import time
from collections.abc import Hashable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from callers import ANYBODY, Caller
from faults import Fault

LOOKS_APART = 0.02
"""In seconds. A call keeps a tenth of its deadline back for the answer: below a fifth of a second, gRPC itself may tell the caller first."""
LOOKS_APART_MAX = 0.25
"""The longest time until a deadline that was changed during a call is noticed."""


@dataclass(slots=True, eq=False)
class Call:
    """The present call."""

    method: str
    call_id: str
    task: asyncio.Task[object] | None = None
    deadline: float | None = None
    """By the monotonic clock."""
    caller: Caller = ANYBODY
    tenants: Sequence[UUID] = ()
    turn: Hashable = ""
    """With whom it takes turns for a place: the first station that it names, or its caller where it names none."""
    code: str = "OK"
    reason: str = ""
    messages: int = 0
    due: float | None = None
    """When this process ends the call itself, by the monotonic clock."""
    late: Fault | None = None
    """What the caller is told then."""
    overdue: Fault | None = None
    """The fault that this process ended the call with; None while it has not."""
    entered: float | None = None
    """When it was given a place, by the monotonic clock."""

    def end_at(self, instant: float | None, fault: Fault) -> None:
        """The call is ended at an instant of the monotonic clock, or soon after; the caller is told `fault`."""
        self.due, self.late = instant, fault


class Deadlines:
    """Ends the calls that are due. One look at all of them now and then costs less than a timer for each."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._calls: set[Call] = set()
        self._next: asyncio.TimerHandle | None = None
        self._next_at = 0.0
        """By the monotonic clock."""

    def begin(self, call: Call) -> None:
        """Looks after a call from now on."""
        self._calls.add(call)
        if self._next is None or (call.due is not None and max(call.due, time.monotonic() + LOOKS_APART) < self._next_at):
            self._look()

    def end(self, call: Call) -> None:
        """It has ended."""
        self._calls.discard(call)

    def _look(self) -> None:
        now, soonest = time.monotonic(), None
        for call in self._calls:
            if call.due is None:
                continue
            if call.due <= now and call.task is not None:
                call.due, call.overdue = None, call.late
                call.task.cancel()
            elif soonest is None or call.due < soonest:
                soonest = call.due
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._calls:
            wait = LOOKS_APART_MAX if soonest is None else min(max(soonest - now, LOOKS_APART), LOOKS_APART_MAX)
            self._next_at = now + wait
            self._next = asyncio.get_running_loop().call_later(wait, self._look)


present: ContextVar[Call | None] = ContextVar("call", default=None)


def caller() -> Caller:
    """Who makes the present call."""
    call = present.get()
    return ANYBODY if call is None else call.caller


def call_id() -> str:
    """The ID of the present call; empty outside of one."""
    call = present.get()
    return "" if call is None else call.call_id


def deadline_left() -> float | None:
    """Seconds until the present call's deadline; None where it has none."""
    call = present.get()
    return None if call is None or call.deadline is None else call.deadline - time.monotonic()
