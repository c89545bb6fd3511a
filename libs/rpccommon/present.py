"""The present call, as those see it who work on it: who makes it, under which ID, and how much time is left."""

import asyncio
import time
from collections.abc import Hashable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from callers import ANYBODY, Caller
from faults import Fault


@dataclass(slots=True)
class Call:
    """The present call."""

    method: str
    call_id: str
    caller: Caller = ANYBODY
    tenants: Sequence[UUID] = ()
    deadline: float | None = None
    """By the monotonic clock."""
    code: str = "OK"
    reason: str = ""
    messages: int = 0
    task: asyncio.Task[object] | None = None
    overdue: Fault | None = None
    """Why this process has ended the call itself, where it has."""
    timer: asyncio.TimerHandle | None = None
    entered: float | None = None
    """When it was given a place, by the monotonic clock."""

    @property
    def tenant(self) -> Hashable:
        """With whom it takes turns for a place: the first station that it names, or its caller where it names none."""
        return self.tenants[0] if self.tenants else self.caller.subject

    def end_at(self, instant: float, fault: Fault) -> None:
        """Cancels the call's task at an instant of the monotonic clock; the caller is told `fault`. Replaces what was set before."""
        self.go_on()
        self.timer = asyncio.get_running_loop().call_later(max(0.0, instant - time.monotonic()), self._end, fault)

    def go_on(self) -> None:
        """Takes back what `end_at` has set."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _end(self, fault: Fault) -> None:
        self.overdue = fault
        if self.task is not None:
            self.task.cancel()


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
