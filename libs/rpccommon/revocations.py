"""Whose tokens are good no longer, although they have not expired: followed in every process, and kept in memory.

A token says for 15 minutes who its user is, and nobody is asked about it meanwhile. So every process listens for users that are
closed (disabled, purged), begins with what may still matter when it starts, and goes on from where it was when the feed breaks
off. What was closed before that needs no memory: whatever was issued until then has expired.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from teppan.common.v1 import events_pb2, references_pb2

from clocks import SKEW_SECONDS, Completeness
from faults import NOT_FROM_HERE, Fault, FeedStale

OWNER = "identity"
TYPE = "identity.User"
ACCESS_TOKEN_SECONDS = 900
"""The longest that a user's token may be good."""
REMEMBERED = timedelta(seconds=ACCESS_TOKEN_SECONDS + 2 * SKEW_SECONDS)
"""One skew lies between issuing and closing, another between closing and verifying."""
STALE_SECONDS = 30.0
PAUSE_SECONDS_MIN = 0.1
PAUSE_SECONDS_MAX = 2.0

Stream = Callable[[events_pb2.StreamEventsRequest], AsyncGenerator[events_pb2.StreamEventsResponse, None]]
"""Identity's feed: of a peer, or in identity itself its own. Raises faults, and PeerUnavailable where it falls silent."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Closing:
    """The last time that a user was closed, as the feed published it."""

    time: datetime
    over: bool
    """Whether they are open again."""


class Revocations:
    """Follows the users that are closed."""

    def __init__(self, stream: Stream, now: Callable[[], datetime]) -> None:
        """Knows nothing, and so is stale, until `run` has heard something."""
        self._stream = stream
        self._now = now
        self._closings: dict[str, _Closing] = {}
        self._cursor = ""
        self._feed = Completeness(now)
        self._pause = PAUSE_SECONDS_MIN
        self.applied = asyncio.Event()
        """Set for good once everything in the feed has been applied, and its relay was not behind: calls can be answered."""

    def revoked(self, user_id: str, issued: float) -> bool:
        """Whether a token of theirs that was issued then (seconds since 1970) is good no longer.

        What was issued within the skew after the closing may have been issued before it. So may what follows an enabling that
        soon: that user logs in again a moment later.
        """
        closing = self._closings.get(user_id)
        return closing is not None and not (closing.over and issued > closing.time.timestamp() + SKEW_SECONDS)

    def require(self) -> None:
        """Raises FeedStale where somebody may have been closed 30 s ago, and this process has not heard of it."""
        if self._feed.stale(STALE_SECONDS):
            raise FeedStale(f"this process has not heard from {OWNER} for more than {STALE_SECONDS:g} s", feed=OWNER)

    async def run(self) -> None:
        """Endless: where the feed breaks off, it goes on from the last message."""
        while True:
            try:
                await self._follow()
            except Fault as fault:
                if fault.reason in NOT_FROM_HERE:
                    self._cursor = ""  # begin as at the start; what was revoked stays so until it has aged
                log.warning("the feed of revocations broke off", peer=OWNER, reason=fault.reason, why=fault.message)
            await asyncio.sleep(random.uniform(0, self._pause))  # noqa: S311  # spreads reconnections, guards nothing
            self._pause = min(self._pause * 2, PAUSE_SECONDS_MAX)

    async def _follow(self) -> None:
        request = events_pb2.StreamEventsRequest(types=[TYPE])
        if self._cursor:
            request.after_cursor = self._cursor
        else:
            request.after_time.FromDatetime(self._now() - REMEMBERED)
        async with aclosing(self._stream(request)) as messages:
            async for message in messages:
                self._apply(message)
                if message.position.position >= message.head.position and not self._feed.stale(STALE_SECONDS):
                    self.applied.set()
                self._pause = PAUSE_SECONDS_MIN

    def _apply(self, message: events_pb2.StreamEventsResponse) -> None:
        """Takes a batch over, the cursor with it, and forgets what no token is old enough for."""
        for event in message.events:
            self._hear(event)
        self._cursor = message.cursor
        if message.position.position >= message.head.position:  # a stream that has only begun says less than is known already
            self._feed.hear(message.complete_until_time.ToDatetime(UTC))
        horizon = self._now() - REMEMBERED
        self._closings = {user: closing for user, closing in self._closings.items() if closing.time >= horizon}

    def _hear(self, event: events_pb2.Event) -> None:
        known, time = self._closings.get(event.entity_id), event.publish_time.ToDatetime(UTC)
        if event.referent_state != references_pb2.REFERENT_STATE_OPEN:
            # What is heard a second time, after a start from a time, takes nothing back of what came later.
            self._closings[event.entity_id] = _Closing(time=max(time, known.time) if known else time, over=False)
        elif known is not None:
            self._closings[event.entity_id] = _Closing(time=known.time, over=True)
