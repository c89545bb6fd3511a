"""An owner of things that are made up, and who counts what refers to others' things: behind the protocols of references."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from google.protobuf import any_pb2
from teppan.bookings.v1 import bookings_pb2
from teppan.common.v1 import references_pb2

from faults import PurgeUnfinished
from pages import Tokens
from referring import Column
from rpccommon.references import ReferencesServicer, Referring, RefersToNothing
from tests.unit.rpc_stage import STATION, now

OPEN, NOT_FOUND = references_pb2.REFERENT_STATE_OPEN, references_pb2.REFERENT_STATE_NOT_FOUND
EPOCH = UUID(int=99)


@dataclass
class ReferentPage:
    """Some things."""

    head: tuple[UUID, int]
    referents: "Sequence[tuple[UUID, UUID | None, Found]]"
    complete: bool


@dataclass
class Found:
    """What there is of an item."""

    state: int
    version: int
    facts: bytes | None


class Source:
    """Has every thing whose ID is not divisible by ten."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[tuple[UUID | None, UUID]]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.fault: Exception | None = None
        self.registered: list[list[Column]] = []
        self.kept_back: set[str] = set()
        self.last, self.size = 9, 4

    async def check(self, type: str, items: Sequence[tuple[UUID | None, UUID]]) -> tuple[UUID, Sequence[Found]]:
        self.asked.append((type, list(items)))
        self.entered.set()
        await self.gate.wait()
        if self.fault:
            raise self.fault
        return EPOCH, [self._found(thing) for _, thing in items]

    def _found(self, id: UUID) -> Found:
        if id.int % 10 == 0:
            return Found(NOT_FOUND, 0, None)
        packed = any_pb2.Any()
        packed.Pack(bookings_pb2.GetBookingRequest(station_id=str(id)))
        return Found(OPEN, id.int, packed.SerializeToString())

    async def register(self, columns: Sequence[Column]) -> tuple[UUID, int]:
        if self.fault:
            raise self.fault
        if self.kept_back & {column.type for column in columns}:
            raise PurgeUnfinished("one purge has to end first")
        self.registered.append(list(columns))
        return EPOCH, 7

    async def stream(self, type: str, after_id: UUID | None) -> AsyncIterator[ReferentPage]:
        first = after_id.int if after_id else 0
        for number in range(first + 1, self.last + 1, self.size):
            ids = [UUID(int=n) for n in range(number, min(number + self.size, self.last + 1))]
            complete = ids[-1].int == self.last
            yield ReferentPage((EPOCH, 7), [(id, STATION, self._found(id)) for id in ids], complete)


def tokens() -> Tokens:
    """Signs cursors."""
    return Tokens(b"k" * 32, now)


def servicer(source: Source, referring: Referring | None = None) -> ReferencesServicer:
    """Serves both sides."""
    return ReferencesServicer(source, referring or RefersToNothing(), tokens())
