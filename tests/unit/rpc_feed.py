"""A feed in memory, for tests of those who stream and those who follow."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from google.protobuf import any_pb2
from teppan.bookings.v1 import bookings_pb2

from pages import Tokens
from tests.unit.rpc_stage import STATION, now

EPOCH, NEXT_EPOCH = UUID(int=1), UUID(int=2)
START = datetime(2030, 1, 1, tzinfo=UTC)
TOKENS = Tokens(b"k" * 32, now)
LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass
class Stored:
    """An event."""

    position: int
    epoch: UUID = EPOCH
    type: str = "identity.Station"
    station_id: UUID | None = STATION
    size: int = 10
    version: int = 1
    referent_state: int = 2

    @property
    def event_id(self) -> UUID:
        return UUID(int=1000 + self.position)

    @property
    def entity_id(self) -> UUID:
        return UUID(int=2000 + self.position)

    @property
    def publish_time(self) -> datetime:
        return START + timedelta(seconds=self.position)

    @property
    def payload(self) -> bytes:
        packed = any_pb2.Any()
        packed.Pack(bookings_pb2.GetBookingRequest(station_id="x" * self.size))
        return packed.SerializeToString()


@dataclass
class End:
    """The head."""

    epoch: UUID
    position: int
    complete_until: datetime


class Feed:
    """A feed in memory."""

    def __init__(self) -> None:
        self.events: list[Stored] = []
        self.dropped = 0
        self.epoch = EPOCH
        self.starts: list[tuple[Any, Any, bool]] = []
        self.fault: Exception | None = None
        self.grown = asyncio.Event()
        self.reading: Callable[[], None] = lambda: None
        self.starting: Callable[[], None] = lambda: None

    def put(self, *events: Stored) -> None:
        self.events.extend(events)
        self.grown.set()

    def fill(self, count: int, **more: Any) -> None:
        last = self.events[-1].position if self.events else self.dropped
        self.put(*(Stored(last + n, self.epoch, **more) for n in range(1, count + 1)))

    async def head(self) -> End:
        last = self.events[-1].position if self.events else self.dropped
        return End(self.epoch, last, START + timedelta(seconds=last, milliseconds=500))

    async def start(self, *, after: Any, after_time: datetime | None, latest: bool) -> tuple[UUID, int]:
        self.starts.append((after, after_time, latest))
        if self.fault:
            raise self.fault
        self.starting()
        return after or (self.epoch, self.events[-1].position if latest else self.dropped)

    async def after(
        self, place: tuple[UUID, int], *, types: Sequence[str], tenants: Sequence[UUID], limit: int
    ) -> tuple[Sequence[Stored], tuple[UUID, int]]:
        self.reading()
        found = [event for event in self.events if event.position > place[1]][:limit]
        wanted = [event for event in found if (not types or event.type in types) and (not tenants or event.station_id in tenants)]
        return wanted, (found[-1].epoch, found[-1].position) if found else place

    async def changed(self, position: int, timeout: float) -> None:
        self.grown.clear()
        if not self.events or self.events[-1].position <= position:
            try:
                async with asyncio.timeout(timeout):
                    await self.grown.wait()
            except TimeoutError:
                return
