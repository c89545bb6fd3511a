"""Who has no place in a feed takes over all that its owner has, and goes on from the head that was read before."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from prometheus_client import CollectorRegistry
from teppan.bookings.v1 import bookings_pb2
from teppan.common.v1 import references_pb2, references_pb2_grpc

from faults import CursorDiverged, CursorExpired, Fault, PermissionDenied
from rpccommon.feed import Batch, Consumer, EventsServicer
from rpccommon.feed.metrics import FeedMetrics
from rpccommon.resync import Page
from tests.unit.rpc_feed import EPOCH, TOKENS, Feed
from tests.unit.rpc_stage import STATION, Stage, stage

TYPES = ["identity.Station", "identity.User"]
OPEN, PURGED = references_pb2.REFERENT_STATE_OPEN, references_pb2.REFERENT_STATE_PURGED


class Owner(references_pb2_grpc.ReferencesServiceServicer):
    """Has two things of each type, in a message each; breaks off before the end as often as it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.breaks = 0

    async def StreamReferents(self, request: references_pb2.StreamReferentsRequest, context: Any) -> AsyncIterator[Any]:
        self.asked.append(request.type)
        cursor = TOKENS.sign("cursor", {"epoch": str(EPOCH), "position": 3}, None)
        for number, state in ((1, OPEN), (2, PURGED)):
            facts = AnyMessage()
            facts.Pack(bookings_pb2.GetBookingRequest(station_id=request.type))
            answer = references_pb2.ReferenceAnswer(state=state, version=number, facts=facts if state == OPEN else None)
            referent = references_pb2.Referent(id=str(UUID(int=number)), station_id=str(STATION), answer=answer)
            if number == 2 and self.breaks:
                self.breaks -= 1
                return
            yield references_pb2.StreamReferentsResponse(
                epoch=str(EPOCH), position=3, cursor=cursor, referents=[referent], complete=number == 2
            )


class Inbox:
    """Takes everything."""

    def __init__(self, cursor: str | None) -> None:
        self.kept = cursor
        self.pages: list[list[Page]] = []
        self.applied: list[int] = []

    async def cursor(self) -> str | None:
        return self.kept

    async def begin(self) -> None:
        """Nothing to do."""

    async def apply(self, batch: Batch) -> None:
        self.applied += [event.position for event in batch.events]
        self.kept = batch.cursor

    async def resynchronise(self, pages: AsyncIterator[Page]) -> dict[str, int]:
        self.pages.append([])
        async for page in pages:
            self.pages[-1].append(page)
        self.kept = self.pages[-1][0].cursor
        return {"identity.Station": 7}


@pytest.fixture
def feed() -> Feed:
    made = Feed()
    made.fill(5)
    return made


@pytest.fixture
def owner() -> Owner:
    return Owner()  # type: ignore[abstract]  # what else the service has is not called


@pytest.fixture
async def on(feed: Feed, owner: Owner) -> AsyncIterator[Stage]:
    async with stage(EventsServicer(feed, TOKENS), owner) as running:
        yield running


async def followed(on: Stage, inbox: Inbox, registry: CollectorRegistry | None = None) -> None:
    """Follows until something was applied."""
    metrics = FeedMetrics(registry or CollectorRegistry(), ["test"])
    task = asyncio.create_task(Consumer(on.peer, TYPES, inbox, metrics).run())
    async with asyncio.timeout(10):
        while not inbox.applied:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task})


async def test_who_has_no_cursor_takes_over_everything_and_follows_from_the_head(on: Stage, feed: Feed, owner: Owner) -> None:
    inbox, registry = Inbox(None), CollectorRegistry()
    await followed(on, inbox, registry)
    assert owner.asked == TYPES
    assert [start[0] for start in feed.starts] == [(EPOCH, 3)]
    assert inbox.applied == [4, 5]
    assert registry.get_sample_value("feed_resynchronisations_total", {"owner": "test"}) == 1
    assert registry.get_sample_value("feed_unknown_rows", {"owner": "test", "type": "identity.Station"}) == 7


async def test_what_there_is_comes_as_the_events_that_would_have_led_to_it(on: Stage) -> None:
    first, second = Inbox(None), Inbox(None)
    await followed(on, first)
    await followed(on, second)
    [pages] = first.pages
    assert [(page.type, page.head) for page in pages] == [(type, (EPOCH, 3)) for type in TYPES for _ in range(2)]
    [is_open], [gone] = pages[0].events, pages[1].events
    facts = bookings_pb2.GetBookingRequest()
    assert is_open.payload.Unpack(facts)
    assert facts.station_id == is_open.type == "identity.Station"
    assert (is_open.entity_id, is_open.station_id, is_open.epoch) == (str(UUID(int=1)), str(STATION), str(EPOCH))
    assert (is_open.version, is_open.referent_state, gone.version, gone.referent_state) == (1, OPEN, 2, PURGED)
    assert not gone.HasField("payload")
    ids = [event.event_id for page in pages for event in page.events]
    assert len(set(ids)) == 4
    assert ids == [event.event_id for page in second.pages[0] for event in page.events]


GOOD = TOKENS.sign("cursor", {"epoch": str(UUID(int=77)), "position": 99}, None)


@pytest.mark.parametrize(
    ("cursor", "fault"),
    [(GOOD, CursorDiverged("resynchronise")), (GOOD, CursorExpired("resynchronise")), ("signed with a key of before", None)],
)
async def test_whose_cursor_is_refused_takes_over_everything(on: Stage, feed: Feed, cursor: str, fault: Fault | None) -> None:
    class Refused(Inbox):
        async def resynchronise(self, pages: AsyncIterator[Page]) -> dict[str, int]:
            feed.fault = None
            return await super().resynchronise(pages)

    inbox = Refused(cursor)
    feed.fault = fault
    await followed(on, inbox)
    assert [len(pages) for pages in inbox.pages] == [4]
    assert inbox.applied == [4, 5]


async def test_any_other_refusal_takes_over_nothing(on: Stage, feed: Feed) -> None:
    inbox = Inbox(GOOD)
    feed.fault = PermissionDenied("not yours")
    task = asyncio.create_task(Consumer(on.peer, TYPES, inbox, FeedMetrics(CollectorRegistry(), ["test"])).run())
    await asyncio.wait({task}, timeout=0.5)
    task.cancel()
    await asyncio.wait({task})
    assert not inbox.pages


async def test_what_breaks_off_is_begun_anew(on: Stage, owner: Owner) -> None:
    owner.breaks = 2
    inbox = Inbox(None)
    await followed(on, inbox)
    assert [len(pages) for pages in inbox.pages] == [1, 1, 4]
    assert inbox.applied == [4, 5]
