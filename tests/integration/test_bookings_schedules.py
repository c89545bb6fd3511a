"""Schedules that change under bookings: nothing is sold twice, and what is said beforehand is what happens."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import grpc
import pytest
from google.type.timeofday_pb2 import TimeOfDay
from teppan.bookings.v1 import bookings_pb2 as pb

from tests.integration.stage import Teppan, booking_request, day, eventually, new, refusal_of, refused
from tests.integration.weeks import offered, replaced, schedule_request

OVERLAPPING = """SELECT a.local_date, a.local_start, b.local_date, b.local_start FROM bookings.slots a JOIN bookings.slots b
  ON b.station_id = a.station_id AND (a.local_date, a.local_start) < (b.local_date, b.local_start)
 WHERE a.station_id = $1 AND a.taken > 0 AND b.taken > 0 AND a.start_time < b.end_time AND b.start_time < a.end_time"""
APART = """SELECT x.id, y.id FROM bookings.bookings x JOIN bookings.bookings y ON y.station_id = x.station_id
   AND (x.slot_date, x.slot_start) < (y.slot_date, y.slot_start)
 WHERE x.station_id = $1 AND x.state BETWEEN 1 AND 5 AND y.state BETWEEN 1 AND 5
   AND x.start_time < y.end_time AND y.start_time < x.end_time"""


@pytest.fixture
async def station(teppan: Teppan) -> str:
    return await teppan.station()


@pytest.fixture
async def customer(teppan: Teppan, station: str) -> str:
    return await teppan.customer(station)


@pytest.fixture
async def rows(teppan: Teppan) -> AsyncIterator[asyncpg.Connection]:
    """Sees everything."""
    connection = await asyncpg.connect(teppan.server.url(teppan.database))
    yield connection
    await connection.close()


def book(teppan: Teppan, station: str, customer: str, hour: int, **fields: Any) -> Any:
    request = booking_request(station, customer, slot_start=TimeOfDay(hours=hour), **fields)
    return teppan.bookings.CreateBooking(request, metadata=teppan.member(station))


async def cancel(teppan: Teppan, booking: pb.Booking) -> None:
    request = pb.CancelBookingRequest(
        request_id=new(), station_id=booking.station_id, booking_id=booking.booking_id, cancelled_by=pb.CANCELLED_BY_STATION
    )
    await teppan.bookings.CancelBooking(request, metadata=teppan.member(booking.station_id))


async def test_a_slot_of_an_earlier_week_stands_in_the_way_while_bookings_are_kept_in_it(
    teppan: Teppan, station: str, customer: str
) -> None:
    weekday = day().isoweekday()
    await replaced(teppan, station, [(weekday, 12, 180, 1)])
    booked = (await book(teppan, station, customer, 12)).booking
    request, who = schedule_request(station, [(weekday, 13, 180, 1), (weekday, 16, 60, 1)]), teppan.member(station)
    answers = [await teppan.slots.UpdateSchedule(request, metadata=who) for _ in range(2)]
    (kept,) = answers[0].kept_slots
    assert (kept.date, kept.start, kept.bookings) == (booked.slot_date, booked.slot_start, 1)
    assert (kept.start_time, kept.end_time) == (booked.start_time, booked.end_time)
    assert answers[1] == answers[0]
    assert [(slot.places_left, slot.unavailable_reason) for slot in await offered(teppan, station, day())] == [
        (0, "SLOT_FULL"),
        (1, ""),
    ]
    for validate_only in (True, False):
        refusal = await refused(book(teppan, station, customer, 13, validate_only=validate_only))
        assert (refusal.reason, refusal.metadata["start"]) == ("SLOT_FULL", "13:00")
        assert refusal.message == f"the slot on {day()} at 13:00 overlaps one in which bookings are kept"
    assert (await book(teppan, station, customer, 16)).booking.state == pb.BOOKING_STATE_PENDING
    await cancel(teppan, booked)
    assert (await book(teppan, station, customer, 13)).booking.state == pb.BOOKING_STATE_PENDING


async def test_a_slot_that_was_made_longer_lasts_as_long_as_its_bookings_may(
    teppan: Teppan, station: str, customer: str, rows: asyncpg.Connection
) -> None:
    weekday = day().isoweekday()
    await replaced(teppan, station, [(weekday, 12, 180, 3), (weekday, 15, 60, 1)])
    short = (await book(teppan, station, customer, 12)).booking
    assert [slot.start.hours for slot in (await replaced(teppan, station, [(weekday, 12, 240, 3)])).kept_slots] == [12]
    longer = (await book(teppan, station, customer, 12)).booking
    assert longer.end_time.seconds - short.end_time.seconds == 3_600
    lasts = "SELECT extract(epoch FROM end_time - start_time)::int FROM bookings.slots WHERE station_id = $1"
    assert await rows.fetchval(lasts, UUID(station)) == 240 * 60
    await replaced(teppan, station, [(weekday, 12, 180, 3), (weekday, 15, 60, 1)])
    assert (await refused(book(teppan, station, customer, 15))).reason == "SLOT_FULL"
    await cancel(teppan, short)
    await cancel(teppan, longer)
    assert (await book(teppan, station, customer, 15)).booking.state == pb.BOOKING_STATE_PENDING
    await replaced(teppan, station, [(weekday, 12, 240, 3)])
    for validate_only in (True, False):
        assert (await refused(book(teppan, station, customer, 12, validate_only=validate_only))).reason == "SLOT_FULL"


async def test_who_fills_overlapping_slots_at_once_meets_at_the_calendar(
    teppan: Teppan, station: str, customer: str, rows: asyncpg.Connection
) -> None:
    """Both slots are there and empty, so that no lock of a slot and no check of the code is met."""
    weekday = day().isoweekday()
    for hour in (12, 13):
        await replaced(teppan, station, [(weekday, hour, 180, 1)])
        await cancel(teppan, (await book(teppan, station, customer, hour)).booking)
    take = "UPDATE bookings.slots SET taken = 1 WHERE station_id = $1 AND local_start = $2::text::time"
    other = await asyncpg.connect(teppan.server.url(teppan.database))
    first, second = rows.transaction(), other.transaction()
    await first.start()
    await second.start()
    await rows.execute(take, UUID(station), "12:00")
    waiting = asyncio.ensure_future(other.execute(take, UUID(station), "13:00"))
    watcher = await asyncpg.connect(teppan.server.url(teppan.database))

    async def waits() -> None:
        blocked = "SELECT cardinality(pg_blocking_pids($1))"
        assert await watcher.fetchval(blocked, other.get_server_pid()) == 1

    await eventually(waits)
    await first.commit()
    with pytest.raises(asyncpg.CheckViolationError) as refusal:
        await waiting
    assert refusal.value.constraint_name == "slots_apart"
    for connection in (other, watcher):
        await connection.close()


@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.long)])
async def test_bookings_and_schedules_at_once_sell_nothing_twice(teppan: Teppan, rows: asyncpg.Connection, rounds: int) -> None:
    station = await teppan.station()
    customer = await teppan.customer(station)
    sold = 0
    for number in range(rounds):
        at = day(10 + number)
        weekday = at.isoweekday()
        weeks = [[(weekday, 12, 180, 2)], [(weekday, 13, 180, 2)], [(weekday, 11, 90, 2), (weekday, 14, 60, 2)]]
        calls = [book(teppan, station, customer, hour, date=at) for hour in (11, 12, 13, 14) for _ in range(3)]
        random.shuffle(calls)
        await replaced(teppan, station, random.choice(weeks))
        answers = await asyncio.gather(
            *(replaced(teppan, station, week) for week in weeks), *calls, return_exceptions=True
        )  # fmt: skip
        refusals = [refusal_of(answer).reason for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert set(refusals) <= {"SLOT_FULL", "SLOT_NOT_OFFERED"}
        sold += len(answers) - len(weeks) - len(refusals)
        assert await rows.fetch(OVERLAPPING, UUID(station)) == []
        assert await rows.fetch(APART, UUID(station)) == []
    assert sold


def around_changes(zone: ZoneInfo) -> list[date]:
    """Bookable dates on which clocks change, or any date where none do, with those beside them."""
    days = [day(5) + timedelta(days=n) for n in range(350)]
    offsets = [datetime(at.year, at.month, at.day, tzinfo=zone).utcoffset() for at in [*days, days[-1] + timedelta(days=1)]]
    changes = [at for at, before, after in zip(days, offsets, offsets[1:], strict=False) if before != after]
    changed = changes[0] if changes else days[100]
    return [changed + timedelta(days=n) for n in (-1, 0, 1)]


@pytest.mark.parametrize(
    ("seed", "steps"),
    [(1, 30), (2, 30), *(pytest.param(seed, 120, marks=pytest.mark.long) for seed in range(3, 23))],
)
async def test_what_a_check_says_is_what_a_booking_meets(teppan: Teppan, rows: asyncpg.Connection, seed: int, steps: int) -> None:
    """A walk over schedules that are raised, lowered, moved and closed, around a change of the clocks, with bookings and their end."""
    chance = random.Random(seed)
    name = chance.choice(
        ["Europe/Berlin", "America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "Asia/Tokyo", "America/Havana"]
    )
    station = await teppan.station(time_zone=name)
    customer = await teppan.customer(station)
    dates = around_changes(ZoneInfo(name))
    booked: list[pb.Booking] = []
    heard = set()
    for _ in range(steps):
        act = chance.random()
        if act < 0.25:
            week, hour = [], 0
            while hour < 23 and chance.random() < 0.9:
                hours = chance.randint(1, 24 - hour)
                for at in dates:
                    week.append((at.isoweekday(), hour, hours * 60, chance.randint(0, 2)))  # noqa: PERF401  # read with `hour`
                hour += hours
            await replaced(teppan, station, week)
        elif act < 0.35 and booked:
            await cancel(teppan, booked.pop(chance.randrange(len(booked))))
        else:
            at = chance.choice(dates)
            slots = {slot.start.hours: slot for slot in await offered(teppan, station, at)}
            hour = chance.choice([*slots, chance.randint(0, 23)])
            outcomes = []
            for validate_only in (True, False):
                try:
                    answer = await book(teppan, station, customer, hour, date=at, validate_only=validate_only)
                    outcomes.append((answer.booking.start_time, answer.booking.end_time, answer.booking.total_minor))
                except grpc.aio.AioRpcError as error:
                    refusal = refusal_of(error)
                    outcomes.append((refusal.code, refusal.reason, refusal.message))
                else:
                    booked += [answer.booking] if answer.booking.booking_id else []
            assert outcomes[0] == outcomes[1]
            said = (slots[hour].unavailable_reason if hour in slots else "SLOT_NOT_OFFERED") or "sold"
            heard.add(said)
            assert said == (outcomes[1][1] if isinstance(outcomes[1][1], str) else "sold")
        assert await rows.fetch(OVERLAPPING, UUID(station)) == []
        assert await rows.fetch(APART, UUID(station)) == []
    assert {"sold", "SLOT_FULL"} <= heard


async def test_what_cannot_be_booked_is_offered_with_its_reason(teppan: Teppan, station: str, customer: str) -> None:
    now = datetime.now(UTC).date()
    expected = {-1: "LEAD_TIME", 1: "LEAD_TIME", 10: "", 370: "TOO_FAR_AHEAD"}
    for ahead, reason in expected.items():
        slots = await offered(teppan, station, now + timedelta(days=ahead))
        assert {(slot.places_left, slot.unavailable_reason) for slot in slots} == {(0 if reason else 2, reason)}
    for verbs in (("Suspend",), ("Resume", "Delete")):
        await teppan.turn(station, *verbs)

        async def closed() -> None:
            slots = await offered(teppan, station, day())
            assert {(slot.places_left, slot.unavailable_reason) for slot in slots} == {(0, "REFERENCE_CLOSED")}

        await eventually(closed)
