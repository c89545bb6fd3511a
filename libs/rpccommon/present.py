"""The present call, as those see it who work on it: who makes it, under which ID, and how much time is left."""

import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from callers import ANYBODY, Caller


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
