"""An epoch that was left is followed no more, whatever a deposed primary says."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from teppan.common.v1.events_pb2 import Event

from dbcommon.inbox import Inbox
from dbcommon.references import Known, Referent
from faults import EpochLeft, FeedStale
from local.database import Server
from tests.integration.aside import Batch
from tests.integration.referrer import EPOCH, NEXT, STATION, Answer, Referrer, event, referrer_on

READY = "SELECT ready_incarnation = bookings.incarnation() AS ready, epoch, position FROM bookings.feed_state"


@pytest.fixture
async def referrer(server: Server, database: str) -> AsyncIterator[Referrer]:
    async with referrer_on(server, database) as made:
        yield made


async def follower(referrer: Referrer) -> Inbox:
    """One who begins to follow from where the last one stopped."""
    handlers = {STATION: referrer.known[STATION].apply}
    inbox = Inbox(referrer.platform, "bookings", "identity", handlers, Event.SerializeToString)
    await inbox.cursor()
    await inbox.begin()
    return inbox


def batch(epoch: UUID, position: int, *events: Event, head: UUID | None = None) -> Batch:
    return Batch(events, f"{epoch}/{position}", (epoch, position), (head or epoch, position))


async def test_a_batch_of_an_epoch_that_was_left_changes_nothing(referrer: Referrer) -> None:
    station = await referrer.station()
    await (await follower(referrer)).apply(batch(EPOCH, 1))
    await (await follower(referrer)).apply(batch(NEXT, 2, event(STATION, station, 2, Referent.CLOSED, epoch=NEXT)))
    deposed = await follower(referrer)
    with pytest.raises(EpochLeft):
        await deposed.apply(batch(EPOCH, 3, event(STATION, station, 3, Referent.OPEN)))
    assert await referrer.row(station) == (Known.CLOSING, 2, False)
    [state] = await referrer.rows(READY)
    assert (state.epoch, state.position) == (NEXT, 2)


async def test_it_is_left_in_the_middle_of_a_stream_too(referrer: Referrer) -> None:
    inbox = await follower(referrer)
    await inbox.apply(batch(EPOCH, 1))
    await inbox.apply(batch(NEXT, 1))
    third = uuid4()
    await inbox.apply(batch(third, 2))
    for left in (EPOCH, NEXT):
        with pytest.raises(EpochLeft):
            await (await follower(referrer)).apply(batch(left, 3))
    await inbox.apply(batch(third, 4))


async def test_a_head_of_an_epoch_that_was_left_makes_nobody_ready(referrer: Referrer) -> None:
    inbox = await follower(referrer)
    await inbox.apply(batch(EPOCH, 1))
    await inbox.apply(batch(NEXT, 2))
    async with referrer.platform.transaction() as tx:
        await tx.execute("UPDATE bookings.feed_state SET ready_incarnation = NULL")
    with pytest.raises(EpochLeft):
        await inbox.apply(batch(NEXT, 2, head=EPOCH))
    assert (await referrer.rows(READY))[0].ready is None


async def test_what_moves_no_cursor_leaves_no_epoch(referrer: Referrer) -> None:
    one, two = await follower(referrer), await follower(referrer)
    await one.apply(batch(EPOCH, 1))
    with pytest.raises(Exception, match="moved elsewhere"):
        await two.apply(batch(NEXT, 1))
    await one.apply(batch(EPOCH, 2))


async def test_an_answer_of_an_epoch_that_was_left_is_not_stored(referrer: Referrer) -> None:
    await (await follower(referrer)).apply(batch(NEXT, 2))
    with pytest.raises(FeedStale):
        await referrer.known[STATION].store({uuid4(): Answer()})
    await referrer.known[STATION].store({uuid4(): Answer(epoch=NEXT)})
