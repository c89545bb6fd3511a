"""A feed of users in memory, and a process that follows who of them is closed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from teppan.common.v1 import events_pb2, references_pb2

from faults import Fault
from rpccommon.revocations import Revocations
from tests.unit.rpc_stage import USER

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ANN = str(USER)


def at(seconds: float) -> datetime:
    """So long after noon."""
    return NOON + timedelta(seconds=seconds)


@dataclass
class Clock:
    time: datetime = NOON

    def __call__(self) -> datetime:
        return self.time


@dataclass
class Identity:
    """A feed of users, in memory: what happened, by position. It keeps what it was asked, and fails when it is told to."""

    clock: Clock
    events: list[events_pb2.Event] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Where each stream began: after a time, or after a cursor."""
    faults: list[Fault] = field(default_factory=list)
    """What the next streams answer."""
    batch: int = 500
    held_at: int | None = None
    """Nothing is sent beyond this position."""
    stands_still: datetime | None = None
    """The relay has stood still since then."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    broken: Fault | None = None

    def tell(self, user_id: str, state: references_pb2.ReferentState.ValueType, time: datetime | None = None) -> None:
        event = events_pb2.Event(type="identity.User", entity_id=user_id, referent_state=state, position=len(self.events) + 1)
        event.publish_time.FromDatetime(time or self.clock())
        self.events.append(event)
        self.changed.set()

    def break_off(self, fault: Fault) -> None:
        """Ends the stream that is under way."""
        self.broken = fault
        self.changed.set()

    def let_go(self) -> None:
        self.held_at = None
        self.changed.set()

    async def stream(self, request: events_pb2.StreamEventsRequest) -> AsyncGenerator[events_pb2.StreamEventsResponse, None]:
        assert list(request.types) == ["identity.User"]
        start = request.WhichOneof("start")
        self.asked.append(request.after_cursor or f"{request.after_time.ToDatetime(UTC):%H:%M:%S}")
        if self.faults:
            raise self.faults.pop(0)
        after, place = request.after_time.ToDatetime(UTC), int(request.after_cursor or 0)
        if start == "after_time":
            place = sum(event.publish_time.ToDatetime(UTC) < after for event in self.events)
        while True:
            end = max(place, min(self._reach(), place + self.batch))
            yield self._message(self.events[place:end], end)
            place = end
            if place >= self._reach():
                self.changed.clear()
                await self.changed.wait()
            if self.broken is not None:
                fault, self.broken = self.broken, None
                raise fault

    def _reach(self) -> int:
        return len(self.events) if self.held_at is None else self.held_at

    def _message(self, events: Sequence[events_pb2.Event], place: int) -> events_pb2.StreamEventsResponse:
        message = events_pb2.StreamEventsResponse(events=events, cursor=str(place))
        message.head.position, message.position.position = len(self.events), place
        complete = (self.stands_still or self.clock()) if place == len(self.events) else datetime.fromtimestamp(0, UTC)
        message.complete_until_time.FromDatetime(complete)
        return message


@dataclass
class Process:
    """A process that listens."""

    clock: Clock
    identity: Identity
    revocations: Revocations

    def refused(self, issued: datetime, user_id: str = ANN) -> bool:
        return self.revocations.revoked(user_id, issued.timestamp())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def process(clock: Clock, identity: Identity) -> AsyncIterator[Process]:
    revocations = Revocations(identity.stream, clock)
    task = asyncio.create_task(revocations.run())
    try:
        yield Process(clock, identity, revocations)
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
