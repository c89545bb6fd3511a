"""What many calls want of the database at about the same time is done in one transaction: connections are few."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

from dbcommon.database import assert_idle

TOGETHER_MAX = 1_000

Wish = TypeVar("Wish")
Outcome = TypeVar("Outcome")


@dataclass
class _Round(Generic[Wish, Outcome]):
    wishes: dict[UUID, Wish] = field(default_factory=dict)
    task: "asyncio.Task[Mapping[UUID, Outcome]] | None" = None


class Together(Generic[Wish, Outcome]):
    """Does one round of work at a time; who comes meanwhile is gathered for the next one."""

    def __init__(self, work: Callable[[Mapping[UUID, Wish]], Awaitable[Mapping[UUID, Outcome]]]) -> None:
        """`work` has an outcome for each ID; what it raises, all of its round get."""
        self._work = work
        self._one = asyncio.Lock()
        self._next: _Round[Wish, Outcome] | None = None

    async def ask(self, wishes: Mapping[UUID, Wish]) -> Mapping[UUID, Outcome]:
        """The outcomes of a round that these are part of, and others. Who is cancelled meanwhile cancels nobody else."""
        assert_idle()
        gathering = self._next
        if gathering is None or gathering.task is None or len(gathering.wishes) >= TOGETHER_MAX:
            gathering = self._next = _Round()
            # In a context of its own: neither the deadline nor the call ID of whoever happened to be first.
            gathering.task = asyncio.create_task(self._run(gathering), context=Context())
            gathering.task.add_done_callback(_seen)
        gathering.wishes.update(wishes)
        return await asyncio.shield(gathering.task)

    async def _run(self, gathered: _Round[Wish, Outcome]) -> Mapping[UUID, Outcome]:
        async with self._one:
            if self._next is gathered:
                self._next = None
            return await self._work(gathered.wishes)


def _seen(task: "asyncio.Task[object]") -> None:
    """What it raised is nobody's trouble where nobody waits any more."""
    if not task.cancelled():
        task.exception()
