"""Who audits asks anew each time, and hears how far the owner's feed is."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from faults import FeedStale, PeerUnavailable
from rpccommon.references import Asker
from tests.unit.rpc_owned import EPOCH, NOT_FOUND, OPEN, Source, servicer
from tests.unit.rpc_stage import Stage, stage

STATIONS = "identity.Station"


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
async def on(source: Source) -> AsyncIterator[Stage]:
    async with stage(servicer(source)) as running:
        yield running


async def test_what_is_not_there_is_asked_again_at_once(on: Stage, source: Source) -> None:
    asker, items = Asker(on.peer), [(None, UUID(int=10)), (None, UUID(int=3))]
    for _ in range(2):
        answers = await asker.check(STATIONS, items)
        assert [(answer.epoch, answer.state) for answer in answers] == [(EPOCH, NOT_FOUND), (EPOCH, OPEN)]
    assert source.asked == [(STATIONS, items)] * 2


async def test_a_refusal_is_a_fault_and_no_answer(on: Stage, source: Source) -> None:
    source.fault = FeedStale("not yet", feed="identity")
    with pytest.raises(PeerUnavailable):
        await Asker(on.peer).check(STATIONS, [(None, UUID(int=10))])
