"""All that an owner has replaces what is known of it, in short transactions of which nobody sees a part."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog
from teppan.common.v1.events_pb2 import Event

from dbcommon.inbox import Inbox
from dbcommon.references import Counting, Known, Referent
from dbcommon.resync import Superseded
from faults import EpochLeft, FeedStale, NotClosedYet
from local.database import Server
from tests.integration.aside import Batch, Killed
from tests.integration.referrer import COLUMNS, EPOCH, NEXT, STATION, USER, Answer, Referrer, event, referrer_on, refers

OPEN, CLOSED, GONE = Referent.OPEN, Referent.CLOSED, Referent.PURGED
STATE = "SELECT cursor, epoch, position, resynchronisation FROM bookings.feed_state"
THERE = (NEXT, 40)
"""The head."""


@dataclass(frozen=True)
class Page:
    """Some of what identity has."""

    events: Sequence[Event]
    type: str = STATION
    head: tuple[UUID, int] = THERE
    cursor: str = "there"


@pytest.fixture
async def referrer(server: Server, database: str) -> AsyncIterator[Referrer]:
    async with referrer_on(server, database) as made:
        yield made


async def follower(referrer: Referrer, others: Any = None) -> Inbox:
    """One process that follows identity."""
    handlers = {**{type: known.apply for type, known in referrer.known.items()}, **(others or {})}
    inbox = Inbox(
        referrer.platform, "bookings", "identity", handlers, Event.SerializeToString, list(referrer.known.values())
    )  # fmt: skip
    await inbox.cursor()
    await inbox.begin()
    return inbox


def has(id: UUID, version: int, state: Referent, *, type: str = STATION, epoch: UUID = NEXT, facts: bool = True) -> Event:
    """What identity has of a thing."""
    return event(type, id, version, state, epoch=epoch, facts=facts)


async def told(*pages: Page) -> AsyncIterator[Page]:
    """What identity streams."""
    for page in pages:
        yield page


async def test_what_is_open_replaces_what_is_there_and_all_else_is_kept_everywhere(referrer: Referrer) -> None:
    same, closing, going, unknown = sorted([await referrer.station() for _ in range(4)])
    others = [uuid4() for _ in range(3)]
    user = uuid4()
    await referrer.known[USER].store({user: Answer()})
    pages = [
        Page([has(same, 9, OPEN), has(closing, 9, CLOSED), has(others[0], 9, OPEN)]),
        Page([has(going, 9, GONE), has(others[1], 9, CLOSED), has(others[2], 9, GONE, facts=False)]),
        Page([has(user, 1, CLOSED, type=USER)], USER),
    ]
    left = await (await follower(referrer)).resynchronise(told(*pages))
    assert left == {STATION: 1, USER: 0}, "one station is known here and not there"
    assert [await referrer.row(id) for id in (same, closing, going, unknown)] == [
        (Known.OPEN, 9, False), (Known.CLOSING, 9, False), (Known.CLOSING, 9, True), (Known.CLOSING, 1, False),
    ]  # fmt: skip
    assert [await referrer.row(id) for id in others] == [None, (Known.CLOSING, 9, False), (Known.CLOSING, 9, True)]
    assert await referrer.row(user, "known_users") == (Known.CLOSING, 1, False)
    [state] = await referrer.rows(STATE)
    assert tuple(state) == ("there", NEXT, 40, None)


async def test_what_was_closed_here_and_is_open_there_is_open_again(referrer: Referrer) -> None:
    station = await referrer.station()
    await referrer.hears(STATION, station, 5, CLOSED)
    await referrer.closes()
    await (await follower(referrer)).resynchronise(told(Page([has(station, 2, OPEN)])))
    assert await referrer.row(station) == (Known.OPEN, 2, False)


@pytest.mark.parametrize(("head", "left"), [(NEXT, [EPOCH]), (EPOCH, [])])
async def test_the_epoch_is_left_for_another_one_alone(referrer: Referrer, head: UUID, left: list[UUID]) -> None:
    await (await follower(referrer)).resynchronise(told(Page([], head=(head, 4))))
    assert [row.epoch for row in await referrer.rows("SELECT epoch FROM bookings.left_epochs")] == left


async def broken(*pages: Page) -> AsyncIterator[Page]:
    """What identity streams, until it breaks off."""
    for page in pages:
        yield page
    raise ConnectionError


@pytest.mark.parametrize("broke_in", [NEXT, EPOCH])
async def test_the_epoch_of_one_that_broke_off_is_left_too(referrer: Referrer, broke_in: UUID) -> None:
    """It replaced rows. Whoever is deposed in it may say of all others that their cursors diverged, and would be believed."""
    station, third = await referrer.station(), uuid4()
    with pytest.raises(ConnectionError):
        await (await follower(referrer)).resynchronise(broken(Page([has(station, 1, OPEN)], head=(broke_in, 40))))
    closed = Page([has(station, 1, CLOSED, epoch=third)], head=(third, 50))
    await (await follower(referrer)).resynchronise(told(closed))
    with pytest.raises(EpochLeft):
        await (await follower(referrer)).resynchronise(told(Page([has(station, 1, OPEN)], head=(broke_in, 41))))
    assert await referrer.row(station) == (Known.CLOSED, 1, False)
    await (await follower(referrer)).resynchronise(told(closed))


async def test_in_between_nothing_is_applied_stored_or_acknowledged_and_writes_go_on(referrer: Referrer) -> None:
    closed, is_open = await referrer.station(), await referrer.station()
    stale = await follower(referrer)

    async def pages() -> AsyncIterator[Page]:
        yield Page([has(closed, 9, CLOSED)])
        await referrer.closes()
        assert await referrer.row(closed) == (Known.CLOSED, 9, False)
        counting = Counting(referrer.platform, "bookings", list(referrer.known.values()), COLUMNS)
        with pytest.raises(NotClosedYet):
            await counting.count(STATION, closed, epoch=NEXT, version=9)
        for epoch in (EPOCH, NEXT):
            with pytest.raises(FeedStale):
                await referrer.known[STATION].store({uuid4(): Answer(epoch=epoch)})
        with pytest.raises(Superseded):
            await stale.apply(Batch([event(STATION, closed, 3, OPEN)], "on", (EPOCH, 3), (EPOCH, 3)))
        async with referrer.app.transaction(tenant=is_open) as tx:
            await refers(tx, is_open, 1)
        yield Page([has(is_open, 9, OPEN)])

    await (await follower(referrer)).resynchronise(pages())
    counting = Counting(referrer.platform, "bookings", list(referrer.known.values()), COLUMNS)
    assert {left for _, left in await counting.count(STATION, closed, epoch=NEXT, version=9)} == {0}
    with pytest.raises(EpochLeft):
        await (await follower(referrer)).apply(Batch([], "on", (EPOCH, 3), (EPOCH, 3)))


async def test_of_two_who_resynchronise_the_slower_puts_no_old_state_back(referrer: Referrer) -> None:
    station = await referrer.station()
    slow, fast = await follower(referrer), await follower(referrer)

    async def old() -> AsyncIterator[Page]:
        yield Page([])
        await fast.cursor()
        await fast.resynchronise(told(Page([has(station, 9, CLOSED)])))
        yield Page([has(station, 8, OPEN)])

    with pytest.raises(Superseded):
        await slow.resynchronise(old())
    assert await referrer.row(station) == (Known.CLOSING, 9, False)


async def test_who_took_over_a_resynchronisation_has_it_to_themselves(referrer: Referrer) -> None:
    station = await referrer.station()
    slow, fast = await follower(referrer), await follower(referrer)

    async def new() -> AsyncIterator[Page]:
        yield Page([has(station, 9, CLOSED)])
        with pytest.raises(Superseded):
            await begun.__anext__()
        yield Page([])

    async def stepwise() -> AsyncIterator[None]:
        pages = [Page([]), Page([has(station, 8, OPEN)])]
        gate: asyncio.Queue[Page] = asyncio.Queue()

        async def fed() -> AsyncIterator[Page]:
            while True:
                yield await gate.get()

        task = asyncio.create_task(slow.resynchronise(fed()))
        await gate.put(pages[0])
        async with asyncio.timeout(10):
            while (await referrer.rows(STATE))[0].resynchronisation is None:
                await asyncio.sleep(0.01)
        yield
        await gate.put(pages[1])
        await task

    begun = stepwise()
    await begun.__anext__()
    await fast.cursor()
    await fast.resynchronise(new())
    assert await referrer.row(station) == (Known.CLOSING, 9, False)


async def test_a_cursor_that_has_moved_is_resynchronised_by_nobody(referrer: Referrer) -> None:
    one, two = await follower(referrer), await follower(referrer)
    await one.apply(Batch([], "on", (EPOCH, 3), (EPOCH, 3)))
    with pytest.raises(Superseded):
        await two.resynchronise(told(Page([has(uuid4(), 9, CLOSED)])))
    assert (await referrer.rows(STATE))[0].cursor == "on"


async def test_the_state_of_an_epoch_that_was_left_is_not_taken_over(referrer: Referrer) -> None:
    station = await referrer.station()
    inbox = await follower(referrer)
    await inbox.apply(Batch([event(STATION, station, 2, CLOSED, epoch=NEXT)], "on", (NEXT, 3), (NEXT, 3)))
    with pytest.raises(EpochLeft):
        await inbox.resynchronise(told(Page([has(station, 1, OPEN, epoch=EPOCH)], head=(EPOCH, 1))))
    assert await referrer.row(station) == (Known.CLOSED, 2, False)
    assert tuple((await referrer.rows(STATE))[0])[:3] == ("on", NEXT, 3)


async def test_an_owner_that_begins_another_epoch_meanwhile_is_asked_anew(referrer: Referrer) -> None:
    pages = [Page([]), Page([has(uuid4(), 9, CLOSED, epoch=uuid4())], head=(uuid4(), 41))]
    with pytest.raises(Superseded):
        await (await follower(referrer)).resynchronise(told(*pages))
    assert (await referrer.rows(STATE))[0].cursor is None


async def test_what_is_killed_at_any_await_begins_anew_and_nothing_is_wrong(
    referrer: Referrer, outside: asyncpg.Connection
) -> None:
    quiet = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'bookings_platform' AND state <> 'idle' AND datname = current_database())"
    for at in range(1, 1_000, 3):
        stations = [await referrer.station() for _ in range(2)]
        pages = [Page([has(stations[0], 9, CLOSED)]), Page([has(stations[1], 9, OPEN)])]
        killed = await Killed((await follower(referrer)).resynchronise(told(*pages)), at, lambda: None)
        while not await outside.fetchval(quiet):
            await asyncio.sleep(0.001)
        [state] = await referrer.rows(STATE)
        rows = [await referrer.row(station) for station in stations]
        assert state.cursor != "there" or rows == [(Known.CLOSING, 9, False), (Known.OPEN, 9, False)]
        await (await follower(referrer)).resynchronise(told(*pages))
        assert [await referrer.row(station) for station in stations] == [(Known.CLOSING, 9, False), (Known.OPEN, 9, False)]
        assert tuple((await referrer.rows(STATE))[0]) == ("there", NEXT, 40, None)
        await outside.execute(
            "DELETE FROM bookings.left_epochs; DELETE FROM bookings.known_stations;"
            f"UPDATE bookings.feed_state SET cursor = 'at', epoch = '{EPOCH}', position = 1"
        )
        if not killed:
            assert at > 10, "so few awaits: it was not killed where it matters"
            return
    raise AssertionError("it never ends")


async def test_what_lay_aside_gives_way_to_the_present_state_and_goes_to_the_journal_where_there_is_none(
    referrer: Referrer, outside: asyncpg.Connection
) -> None:
    station, unknown = await referrer.station(), uuid4()
    for id in (station, unknown):
        await outside.execute(
            "INSERT INTO bookings.parked_events (owner, event_id, type, entity_id, epoch, position, version, event)"
            f" VALUES ('identity', $1, 'identity.Station', $1, '{EPOCH}', 1, 3, '')",
            id,
        )
    await (await follower(referrer)).resynchronise(told(Page([has(station, 9, OPEN)])))
    assert await referrer.rows("SELECT entity_id FROM bookings.parked_events") == []
    [dropped] = await referrer.rows("SELECT entity_id, dropped_by FROM bookings.dropped_events")
    assert tuple(dropped) == (unknown, "resynchronisation")


async def test_a_state_that_cannot_be_applied_is_set_aside_and_the_others_are_not(referrer: Referrer) -> None:
    bad, good = sorted([await referrer.station(), await referrer.station()])
    wrong = has(bad, 9, CLOSED)
    wrong.payload.Clear()
    await (await follower(referrer)).resynchronise(told(Page([wrong, has(good, 9, CLOSED)])))
    assert [await referrer.row(id) for id in (bad, good)] == [(Known.OPEN, 1, False), (Known.CLOSING, 9, False)]
    aside = await referrer.rows("SELECT entity_id, attempts, epoch FROM bookings.parked_events")
    assert [tuple(row) for row in aside] == [(bad, 1, NEXT)]


async def test_who_keeps_no_known_rows_is_told_what_is_as_if_it_had_just_happened(referrer: Referrer) -> None:
    heard: list[tuple[str, int, str]] = []

    async def handle(tx: Any, event: Event) -> None:
        heard.append((event.entity_id, event.version, event.epoch))

    id = uuid4()
    inbox = await follower(referrer, {"payments.Account": handle})
    await inbox.resynchronise(told(Page([has(id, 4, OPEN, type="payments.Account")], "payments.Account")))
    assert heard == [(str(id), 4, str(NEXT))]


async def test_the_log_says_how_far_it_is_and_what_the_owner_did_not_know(
    referrer: Referrer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbcommon.resync.TOLD_EACH", 4)
    await referrer.station()
    pages = [Page([has(uuid4(), 1, CLOSED) for _ in range(3)]) for _ in range(3)]
    with structlog.testing.capture_logs() as lines:
        await (await follower(referrer)).resynchronise(told(*pages))
    said = [(line["event"].partition("resynchronisation ")[2], line.get("things"), line.get("unknown")) for line in lines]
    assert said == [
        ("begins", None, None), ("goes on", 6, None), ("goes on", 9, None), ("has ended", 9, {STATION: 1, USER: 0}),
    ]  # fmt: skip
