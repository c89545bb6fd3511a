"""Who drives purges on: asks those who refer, between the owner's transactions, until it goes no further."""

import asyncio
from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

import structlog

from dbcommon.references.counting import COUNT_MAX
from dbcommon.references.purging import Asked, Purgeable, Purges, Stage
from faults import Fault, NotClosedYet, PeerUnavailable, StillReferenced
from referring import Rule

PAUSE_SECONDS_MIN = 0.05
PAUSE_SECONDS_MAX = 1.0
WORKER_PAUSE_SECONDS_MIN = 0.5
WORKER_PAUSE_SECONDS_MAX = 30.0

log = structlog.get_logger()


class Referrer(Protocol):
    """One who refers."""

    async def count(self, type: str, id: UUID, *, epoch: UUID, version: int) -> Mapping[str, int]:
        """What is left by column ("table.column"). Raises NotClosedYet, and other faults: none of them is 0."""


class Driver:
    """Drives the purges of one owner."""

    def __init__(self, purges: Purges, things: Mapping[str, Purgeable], referrers: Mapping[str, Referrer]) -> None:
        """`things` by type, `referrers` by service."""
        self.purges = purges
        self._things = things
        self._referrers = referrers

    async def drive(self, type: str, id: UUID, *, patience: float) -> None:
        """Takes a purge that somebody has begun on to its end, or as far as it comes in `patience` seconds.

        Raises StillReferenced; NotClosedYet where the time was up before it came to PURGING, or those who refer had heard of
        it; PeerUnavailable; FeedStale. Whoever calls again goes on from there.
        """
        things, waiting = self._things[type], _Patience(patience)
        while (asked := await self.purges.take_up(things, id)) is not None:
            try:
                ended = await self._step(things, asked)
            except NotClosedYet:
                if not await waiting.pause():
                    raise
                continue
            if not ended and not await waiting.pause():
                raise NotClosedYet(f"the purge of the {type} takes longer", type=type)

    async def run(self) -> None:
        """Drives on what is PURGING, endlessly: also what a process left that was killed."""
        before, pause = None, WORKER_PAUSE_SECONDS_MIN
        while True:
            unfinished = await self.purges.unfinished()
            for type, id in unfinished:
                try:
                    await self.drive(type, id, patience=0)
                except Fault as fault:
                    log.warning("a purge does not end yet", type=type, id=str(id), reason=fault.reason, why=fault.message)
            stuck = unfinished and set(unfinished) == before
            pause = min(2 * pause, WORKER_PAUSE_SECONDS_MAX) if stuck else WORKER_PAUSE_SECONDS_MIN
            before = set(unfinished)
            await asyncio.sleep(pause)

    async def _step(self, things: Purgeable, asked: Asked) -> bool:
        """Asks, and takes the step that the answers allow; False where it was not taken, and is to be tried again later."""
        left = await self._left(things.type, asked)
        if asked.stage is Stage.LEFT:
            if held := {column: count for column, (rule, count) in left.items() if rule is Rule.RESTRICT and count}:
                raise _still_referenced(things.type, held)
            return await self.purges.entomb(things, asked)
        return not any(count for _, count in left.values()) and await self.purges.finish(things, asked)

    async def _left(self, type: str, asked: Asked) -> dict[str, tuple[Rule, int]]:
        """What every expected referrer says is left, by column. Raises faults: who says nothing of a column has not answered."""
        left: dict[str, tuple[Rule, int]] = {}
        for service, columns in sorted(asked.expected.columns.items()):
            leaves = f"if that is gone for good: python -m {type.partition('.')[0]} referrers leave {service} "
            if (referrer := self._referrers.get(service)) is None:
                unknown = f"{service} refers to the {type}, and nobody here knows the way to it"
                raise PeerUnavailable(f"{unknown} ({leaves}{' '.join(sorted(columns))})", peer=service)
            counts = await referrer.count(type, asked.id, epoch=asked.epoch, version=asked.version)
            if unsaid := sorted(columns.keys() - counts.keys()):
                raise PeerUnavailable(f"{service} says nothing of {', '.join(unsaid)} ({leaves}{' '.join(unsaid)})", peer=service)
            left |= {f"{service}.{column}": (rule, counts[column]) for column, rule in columns.items()}
        return left


class _Patience:
    """Pauses, each twice as long as the one before, until the time is up."""

    def __init__(self, seconds: float) -> None:
        self._until = asyncio.get_running_loop().time() + seconds
        self._pause = PAUSE_SECONDS_MIN

    async def pause(self) -> bool:
        """False, at once, where the time is up."""
        left = self._until - asyncio.get_running_loop().time()
        if left <= 0:
            return False
        await asyncio.sleep(min(self._pause, left))
        self._pause = min(self._pause * 2, PAUSE_SECONDS_MAX)
        return True


def _still_referenced(type: str, held: Mapping[str, int]) -> StillReferenced:
    counts = {column: f"{count}+" if count >= COUNT_MAX else str(count) for column, count in sorted(held.items())}
    said = ", ".join(f"{column} ({count})" for column, count in counts.items())
    message = f"the {type} is still referred to by {said}"
    return StillReferenced(message, column=",".join(counts), count=",".join(counts.values()))
