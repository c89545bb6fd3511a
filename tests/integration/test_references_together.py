"""What many writes refer to is asked for together, and once; and stored once."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from teppan.common.v1 import references_pb2, references_pb2_grpc

from dbcommon.references import Known, References, Wanted
from faults import FeedStale, ReferenceClosed
from local.database import Server
from rpccommon.references import Checker
from tests.integration.referrer import EPOCH, STATION, Referrer, payload, referrer_on
from tests.integration.watched import statements
from tests.unit.rpc_stage import now, stage

MANY = 1_000
ASIDE = """INSERT INTO bookings.parked_events (owner, event_id, type, entity_id, epoch, position, version, event)
    VALUES ('identity', :id, 'identity.Station', :id, :id, 1, 3, '')"""


class Identity(references_pb2_grpc.ReferencesServiceServicer):
    """Has every station, open or not; counts how often it is asked for how many."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.state = references_pb2.REFERENT_STATE_OPEN

    async def CheckReferences(
        self, request: references_pb2.CheckReferencesRequest, context: Any
    ) -> references_pb2.CheckReferencesResponse:
        self.asked.append(len(request.items))
        answer = references_pb2.ReferenceAnswer(state=self.state, version=1, facts=payload(STATION))
        return references_pb2.CheckReferencesResponse(epoch=str(EPOCH), answers=[answer] * len(request.items))


@pytest.fixture
async def referrer(server: Server, database: str) -> AsyncIterator[Referrer]:
    async with referrer_on(server, database) as made:
        yield made


@pytest.fixture
def identity() -> Identity:
    return Identity()  # type: ignore[abstract]  # what else the service has is not called


@pytest.fixture
async def references(referrer: Referrer, identity: Identity) -> AsyncIterator[References]:
    async with stage(identity) as running:
        yield References(referrer.known, {"identity": Checker(running.peer, now)})


async def ensure(references: References, *stations: UUID) -> None:
    """What as many calls do that begin at once, each with one of the stations."""
    wanted = [[Wanted(field="station_id", type=STATION, id=station)] for station in stations]
    await asyncio.gather(*(references.ensure_known(each) for each in wanted))


@pytest.fixture
def ran() -> Iterator[list[tuple[str, Sequence[Any]]]]:
    """The statements that ran."""
    with statements(everywhere=True) as seen:  # a fixture has no task of the test's
        yield seen


def stores(ran: Sequence[tuple[str, Sequence[Any]]]) -> list[str]:
    """Those of the transactions that store answers, one of each.

    A stack that other tests of this process share goes on meanwhile, and its statements are seen too.
    """
    return [statement for statement, _ in ran if statement.startswith("SELECT epoch FROM bookings.feed_state")]


async def test_a_thousand_writes_of_one_station_ask_a_handful_of_times_and_store_once(
    referrer: Referrer, references: References, identity: Identity, ran: list[tuple[str, Sequence[Any]]]
) -> None:
    station = uuid4()
    await ensure(references, *[station] * MANY)
    assert len(identity.asked) <= 5
    assert len(stores(ran)) == 1
    assert await referrer.row(station) is not None
    await ensure(references, *[station] * MANY)
    assert len(identity.asked) <= 5


async def test_a_thousand_writes_of_different_stations_ask_in_a_few_batches(
    referrer: Referrer, references: References, identity: Identity, ran: list[tuple[str, Sequence[Any]]]
) -> None:
    stations = [uuid4() for _ in range(MANY)]
    await ensure(references, *stations)
    assert sum(identity.asked) == MANY
    assert len(identity.asked) <= 5
    assert len(stores(ran)) <= 5
    assert len(await referrer.rows("SELECT id FROM bookings.known_stations")) == MANY


async def test_a_write_of_many_references_asks_once(references: References, identity: Identity) -> None:
    await references.ensure_known([Wanted(field="station_id", type=STATION, id=uuid4()) for _ in range(MANY)])
    assert identity.asked == [MANY]


async def test_what_is_not_in_use_is_asked_about_once_a_second_however_many_want_it(
    referrer: Referrer, references: References, identity: Identity
) -> None:
    identity.state = references_pb2.REFERENT_STATE_CLOSED
    station = uuid4()
    for _ in range(3):
        with pytest.raises(ReferenceClosed):
            await ensure(references, station)
    assert len(identity.asked) == 1
    assert await referrer.row(station) is None


async def test_who_cannot_be_stored_spoils_nobody_elses_reference(referrer: Referrer, references: References) -> None:
    aside, good = uuid4(), uuid4()
    async with referrer.platform.transaction() as tx:
        await tx.execute(ASIDE, {"id": aside})
    wanted = [[Wanted(field="station_id", type=STATION, id=id)] for id in (aside, good)]
    spoiled, fine = await asyncio.gather(*(references.ensure_known(each) for each in wanted), return_exceptions=True)
    assert isinstance(spoiled, FeedStale)
    assert fine is None
    assert [await referrer.row(id) for id in (aside, good)] == [None, (Known.OPEN, 1, False)]


async def test_who_is_cancelled_while_others_wait_cancels_none_of_them(referrer: Referrer, references: References) -> None:
    station = uuid4()
    calls = [asyncio.create_task(ensure(references, station)) for _ in range(3)]
    for _ in range(3):
        await asyncio.sleep(0)
    calls[0].cancel()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert done[1:] == [None, None]
    assert await referrer.row(station) is not None
