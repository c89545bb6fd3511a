"""Who decides what becomes of a booking and of its money, whatever order the news come in."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from bookings.domain.bookings import BookingState, State
from dbcommon.references import Known
from faults import Remembered
from local.database import Server
from tests.conftest import new_database
from tests.integration.sagas import DEPOSIT_MINOR, ROUND, World, world_on

ALL, LITTLE = 10_000, DEPOSIT_MINOR - 1


@pytest.fixture(scope="module")
async def both(server: Server, template: str) -> AsyncIterator[World]:
    """Bookings and payments, step by step."""
    name = new_database()
    await server.create(name, template)
    async with world_on(server, name) as made:
        yield made
    await server.drop(name)


@pytest.fixture
async def world(both: World) -> World:
    """The same, for another booking."""
    await both.begin()
    return both


async def test_a_booking_that_nobody_pays_expires_once_payments_has_said_so(world: World) -> None:
    await world.take("create", *ROUND, "sweep", *ROUND)
    assert (await world.end())[0] == State.PENDING
    await world.take("late", "sweep")
    assert (await world.end())[:4] == (State.EXPIRING, 0, None, 1), "it keeps its place until payments has answered"
    await world.take(*ROUND)
    assert await world.end() == (State.EXPIRED, 0, ALL, 0, Known.CLOSED, 0, None, 0, 0)
    await world.take(*ROUND)
    assert await world.end() == (State.EXPIRED, 0, ALL, 0, Known.CLOSED, 0, ALL, 0, 0)


async def test_who_gets_no_answer_asks_again_and_each_time_waits_longer_up_to_an_hour(world: World) -> None:
    await world.take("create", "late", "sweep")
    began, asked = world.clock.now, []
    before = await world.version()
    for minute in range(1, 190):
        world.clock.now = began + timedelta(minutes=minute)
        await world.take("sweep")
        if await world.version() != before:
            before = await world.version()
            asked.append(minute)
    assert asked == [1, 2, 4, 8, 16, 32, 64, 124, 184]


async def test_a_deposit_that_was_on_its_way_confirms_and_the_account_takes_money_again(world: World) -> None:
    await world.take("create", "pay", "late", "sweep", *ROUND)
    assert await world.end() == (State.CONFIRMED, DEPOSIT_MINOR, None, 1, Known.CLOSED, DEPOSIT_MINOR, None, 0, 1)
    await world.take(*ROUND)
    assert (await world.end())[4] == Known.OPEN


async def test_what_was_paid_in_part_is_due_when_the_booking_expires(world: World) -> None:
    await world.take("create", *ROUND, "pay_little", *ROUND, "late", "sweep", *ROUND, *ROUND)
    assert await world.end() == (State.EXPIRED, LITTLE, ALL, 0, Known.CLOSED, LITTLE, ALL, LITTLE, 1)


async def test_a_report_that_is_not_final_decides_nothing(world: World) -> None:
    """The account says that the deposit is covered, and is not closed: more may come, or a refund."""
    await world.take("create", "pay", "late", "sweep", "payments_tells", "bookings_hears")
    assert (await world.end())[:2] == (State.EXPIRING, DEPOSIT_MINOR)
    await world.take(*ROUND)
    assert (await world.end())[0] == State.CONFIRMED


async def test_a_payment_that_comes_too_late_is_refused_and_one_before_it_counts(world: World) -> None:
    await world.take("create", *ROUND, "late", "sweep")
    with pytest.raises(Remembered) as refusal:
        await world.take("pay")
    assert refusal.value.reason == "REFERENCE_CLOSED"
    await world.take(*ROUND, *ROUND)
    assert (await world.end())[:2] == (State.EXPIRED, 0)


async def test_a_booking_that_expires_cannot_be_cancelled_and_the_caller_is_told_the_state(world: World) -> None:
    await world.take("create", "late", "sweep")
    with pytest.raises(Remembered) as refusal:
        await world.take("cancel")
    assert refusal.value.reason == BookingState.reason
    assert refusal.value.metadata == {"from": "EXPIRING", "to": "CANCELLED"}


async def test_an_answer_to_another_epoch_decides_nothing_and_is_asked_for_again(world: World) -> None:
    """The feed of bookings begins anew, as after a restart; an answer may then be one to a booking that a restore took back."""
    await world.take("create", "late", "sweep", "bookings_tells", "payments_hears", "payments_tells")
    await world.outside.execute("UPDATE bookings.epochs SET incarnation = 'another life'")
    await world.take("bookings_hears")
    assert (await world.end())[0] == State.EXPIRING
    await world.take("sweep", *ROUND)
    assert (await world.end())[0] == State.EXPIRING, "it was asked a moment ago"
    await world.take("later", "sweep", *ROUND)
    assert (await world.end())[0] == State.EXPIRED


async def test_old_and_repeated_reports_decide_nothing(world: World) -> None:
    await world.take("create", "late", "sweep", *ROUND, *ROUND)
    await world.outside.execute("UPDATE bookings.bookings SET state = 3 WHERE station_id = $1", world.saga.station)
    await world.outside.execute("UPDATE bookings.feed_state SET cursor = NULL WHERE owner = 'payments'")
    await world.take("bookings_hears")
    assert (await world.end())[0] == State.EXPIRING


@pytest.mark.parametrize("heard", [(), ROUND], ids=["not heard", "heard"])
async def test_a_share_of_what_was_paid_is_due_when_a_booking_is_cancelled(world: World, heard: tuple[str, ...]) -> None:
    await world.take("create", "pay", *heard, "cancel", *ROUND, *ROUND)
    assert await world.end() == (State.CANCELLED, DEPOSIT_MINOR, ALL, 0, Known.CLOSED, DEPOSIT_MINOR, ALL, DEPOSIT_MINOR, 1)


async def test_the_end_of_a_booking_unknown_to_payments_is_reported_too_and_two_services_fall_silent(world: World) -> None:
    await world.take("create", "cancel", *ROUND, *ROUND)
    assert await world.end() == (State.CANCELLED, 0, ALL, 0, Known.CLOSED, 0, ALL, 0, 0)
    told = "SELECT count(*) FROM payments.events WHERE type = 'payments.Account' AND station_id = $1"
    assert await world.outside.fetchval(told, world.saga.station) == 1
    positions = "SELECT (SELECT position FROM bookings.feed_head), (SELECT position FROM payments.feed_head)"
    silent = await world.outside.fetchrow(positions)
    await world.take(*ROUND, *ROUND)
    assert await world.outside.fetchrow(positions) == silent


async def test_the_sweeper_leaves_out_what_somebody_has_locked_and_asks_for_the_rest(world: World) -> None:
    await world.take("create", "late")
    async with world.outside.transaction():
        await world.outside.execute("SELECT FROM bookings.bookings WHERE station_id = $1 FOR UPDATE", world.saga.station)
        await world.take("sweep")
    assert (await world.end())[0] == State.PENDING
    await world.take("sweep")
    assert (await world.end())[0] == State.EXPIRING


async def test_what_waits_is_found_by_an_index(world: World) -> None:
    await world.outside.execute("SET enable_seqscan = off; SET enable_sort = off")
    for column, state in (("deposit_deadline_time", State.PENDING), ("update_time", State.EXPIRING)):
        query = f"EXPLAIN SELECT * FROM bookings.bookings WHERE state = {state:d} AND {column} <= now() ORDER BY {column} LIMIT 100"
        plan = "\n".join(row[0] for row in await world.outside.fetch(query))
        assert f"bookings_{state.name.lower()}_idx" in plan
