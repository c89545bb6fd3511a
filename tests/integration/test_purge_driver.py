"""Purges at the owner: what they wait for, and what voids them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest

from dbcommon.references import Referent
from faults import FeedStale, NotClosedYet, PeerUnavailable, PurgeUnfinished, StillReferenced
from identity.domain.stations import DELETE, State
from identity.usecases.stations import EVENT_TYPE
from local.database import Server
from referring import Column, Rule
from tests.integration.purges import Owner, owner_on

OPEN, CLOSED, PURGED = Referent.OPEN, Referent.CLOSED, Referent.PURGED
NEWCOMER = Column(service="loyalty", table="cards", name="station_id", type=EVENT_TYPE, rule=Rule.RESTRICT)


@pytest.fixture
async def owner(server: Server, database: str) -> AsyncIterator[Owner]:
    async with owner_on(server, database) as made:
        yield made


async def test_what_nothing_refers_to_is_purged_and_each_step_is_announced(owner: Owner) -> None:
    id = await owner.begun()
    await owner.drive(id)
    assert await owner.seen(id) == (State.PURGED, 4)
    assert await owner.announced(id) == [(1, OPEN), (2, CLOSED), (3, CLOSED), (4, PURGED)]
    epoch = await owner.rows.fetchval("SELECT epoch FROM identity.feed_head")
    for referrer in owner.referrers.values():
        assert sorted(set(referrer.asked)) == [(epoch, 3), (epoch, 4)]
    assert await owner.rows.fetchval("SELECT count(*) FROM identity.purges") == 0


async def test_what_holds_a_thing_back_is_said_by_column_and_count_and_the_thing_stays(owner: Owner) -> None:
    id = await owner.begun()
    owner.referrers["bookings"].left |= {"bookings.station_id": 2, "slots.station_id": 70}
    owner.referrers["payments"].left |= {"payments.station_id": 1000}
    with pytest.raises(StillReferenced) as refusal:
        await owner.drive(id)
    assert refusal.value.metadata == {"column": "bookings.bookings.station_id,payments.payments.station_id", "count": "2,1000+"}
    assert await owner.seen(id) == (State.DELETED, 3)
    for referrer in owner.referrers.values():
        referrer.left = {column: 0 if referrer.rules[column] is Rule.RESTRICT else 7 for column in referrer.left}
    await owner.drive(id)
    assert await owner.seen(id) == (State.PURGED, 4)


async def test_what_goes_with_a_thing_goes_between_purging_and_purged(owner: Owner) -> None:
    id = await owner.begun()
    bookings = owner.referrers["bookings"]
    bookings.left["slots.station_id"] = 70
    states = []

    async def note() -> None:
        states.append((await owner.seen(id))[0])
        bookings.meanwhile = note

    bookings.meanwhile = note
    await owner.drive(id)
    assert (states[0], states[-1]) == (State.DELETED, State.PURGING)
    assert bookings.left["slots.station_id"] == 0
    assert (await owner.seen(id))[0] is State.PURGED


@pytest.mark.parametrize("service", ["bookings", "payments"])
async def test_who_does_not_answer_holds_a_purge_back_and_nothing_is_half_done(owner: Owner, service: str) -> None:
    id = await owner.begun()
    owner.referrers[service].fault = PeerUnavailable("down", peer=service)
    with pytest.raises(PeerUnavailable):
        await owner.drive(id)
    assert await owner.seen(id) == (State.DELETED, 3)
    owner.referrers[service].fault = None
    await owner.drive(id)
    assert (await owner.seen(id))[0] is State.PURGED


async def test_who_says_nothing_of_a_column_has_not_answered(owner: Owner) -> None:
    id = await owner.begun()
    del owner.referrers["bookings"].left["slots.station_id"]
    with pytest.raises(PeerUnavailable, match=r"slots\.station_id"):
        await owner.drive(id)
    assert (await owner.seen(id))[0] is State.DELETED


async def test_who_has_not_heard_yet_is_asked_again_until_the_time_is_up(owner: Owner) -> None:
    id = await owner.begun()
    owner.referrers["payments"].deaf = True
    with pytest.raises(NotClosedYet):
        await owner.drive(id, patience=0.3)
    assert len(owner.referrers["payments"].asked) > 1
    assert await owner.seen(id) == (State.DELETED, 3)


async def test_nothing_is_driven_on_that_has_not_begun(owner: Owner) -> None:
    for id in (await owner.station(), await owner.station(DELETE)):
        before = await owner.seen(id)
        await owner.drive(id)
        assert await owner.seen(id) == before
    assert not owner.referrers["bookings"].asked


async def test_an_undelete_voids_all_answers_and_the_purge_even_if_it_is_deleted_again(owner: Owner) -> None:
    id = await owner.begun()
    owner.referrers["payments"].meanwhile = lambda: owner.undelete(id)
    await owner.drive(id)
    assert await owner.seen(id) == (State.SUSPENDED, 4)
    await owner.turn(id, DELETE)
    await owner.drive(id)
    assert await owner.seen(id) == (State.DELETED, 5)


async def test_two_purges_at_once_end_as_one(owner: Owner) -> None:
    id = await owner.begun()
    await owner.begin(id)
    await asyncio.gather(*(owner.drive(id) for _ in range(4)))
    assert await owner.seen(id) == (State.PURGED, 5)
    assert await owner.announced(id) == [(1, OPEN), (2, CLOSED), (3, CLOSED), (4, CLOSED), (5, PURGED)]


async def test_who_began_before_asks_anew_at_what_the_second_one_announced(owner: Owner) -> None:
    id = await owner.begun()
    owner.referrers["payments"].meanwhile = lambda: owner.begin(id)
    await owner.drive(id)
    assert [version for _, version in dict.fromkeys(owner.referrers["bookings"].asked)] == [3, 4, 5]
    assert await owner.seen(id) == (State.PURGED, 5)


async def test_who_registers_while_others_are_asked_is_asked_too(owner: Owner) -> None:
    id = await owner.begun()

    async def register() -> None:
        await owner.registry.register([NEWCOMER])

    owner.referrers["payments"].meanwhile = register
    with pytest.raises(PeerUnavailable, match="loyalty"):
        await owner.drive(id)
    assert await owner.seen(id) == (State.DELETED, 3)


async def test_who_would_register_from_purging_on_waits_until_the_end(owner: Owner) -> None:
    id = await owner.begun()
    owner.referrers["bookings"].left["slots.station_id"] = 70
    tried: list[str] = []

    async def register() -> None:
        if (await owner.seen(id))[0] is State.PURGING:
            with pytest.raises(PurgeUnfinished):
                await owner.registry.register([NEWCOMER])
            tried.append("refused")
        else:
            owner.referrers["payments"].meanwhile = register

    owner.referrers["payments"].meanwhile = register
    await owner.drive(id)
    assert (tried, (await owner.seen(id))[0]) == (["refused"], State.PURGED)
    await owner.registry.register([NEWCOMER])


async def test_in_another_epoch_the_deletion_is_announced_anew_and_all_are_asked_again(owner: Owner) -> None:
    id = await owner.begun()
    owner.referrers["payments"].meanwhile = owner.restarted
    await owner.drive(id)
    assert await owner.seen(id) == (State.PURGED, 5)
    assert await owner.announced(id) == [(1, OPEN), (2, CLOSED), (3, CLOSED), (4, CLOSED), (5, PURGED)]
    first, second = dict.fromkeys(epoch for epoch, _ in owner.referrers["payments"].asked)
    assert [version for epoch, version in dict.fromkeys(owner.referrers["payments"].asked) if epoch == second] == [4, 5]
    assert first != second


async def test_in_another_epoch_the_tombstone_is_announced_anew(owner: Owner) -> None:
    id = await owner.begun()
    owner.referrers["bookings"].left["slots.station_id"] = 70

    async def restart() -> None:
        if (await owner.seen(id))[0] is State.PURGING:
            await owner.restarted()
        else:
            owner.referrers["payments"].meanwhile = restart

    owner.referrers["payments"].meanwhile = restart
    await owner.drive(id)
    assert await owner.seen(id) == (State.PURGED, 5)
    assert await owner.announced(id) == [(1, OPEN), (2, CLOSED), (3, CLOSED), (4, PURGED), (5, PURGED)]


async def test_nothing_begins_or_goes_on_before_the_present_epoch_has(server: Server, database: str) -> None:
    async with owner_on(server, database, relayed=False) as owner:
        id = await owner.begun()
        await owner.other_life()
        with pytest.raises(FeedStale):
            await owner.begin(id)
        with pytest.raises(FeedStale):
            await owner.drive(id)
        assert await owner.seen(id) == (State.DELETED, 3)


async def test_purging_waits_until_all_that_was_announced_is_out(server: Server, database: str) -> None:
    async with owner_on(server, database, relayed=False) as owner:
        id = await owner.begun()
        asked = await owner.purges.take_up(owner.things, id)
        assert asked is not None
        assert not await owner.purges.entomb(owner.things, asked)
        assert await owner.seen(id) == (State.DELETED, 3)
        await owner.relay.step()
        assert await owner.purges.entomb(owner.things, asked)
        assert await owner.seen(id) == (State.PURGING, 4)


async def test_answers_count_for_exactly_what_was_asked_about(owner: Owner) -> None:
    id = await owner.begun()
    await owner.announced(id)
    asked = await owner.purges.take_up(owner.things, id)
    assert asked is not None
    expected = replace(asked.expected, version=asked.expected.version - 1)
    for other in (replace(asked, version=2), replace(asked, epoch=UUID(int=1)), replace(asked, expected=expected)):
        assert not await owner.purges.entomb(owner.things, other)
    assert await owner.purges.entomb(owner.things, asked)
    entombed = await owner.purges.take_up(owner.things, id)
    assert entombed is not None
    for other in (asked, replace(entombed, version=3), replace(entombed, epoch=UUID(int=1)), replace(entombed, expected=expected)):
        assert not await owner.purges.finish(owner.things, other)
    assert await owner.seen(id) == (State.PURGING, 4)
    assert await owner.purges.finish(owner.things, entombed)
