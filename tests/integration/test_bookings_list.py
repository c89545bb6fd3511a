"""A list has every booking that matches exactly once, in order, whatever the page size and wherever it is resumed."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.timeofday_pb2 import TimeOfDay
from teppan.bookings.v1 import bookings_pb2 as pb

from tests.integration.stage import Teppan, booking_request, day, new, refused

COUNT, SLOTS_A_DAY, CAPACITY, AT_ONCE = 205, 12, 6, 8
ASC, DESC = pb.BOOKING_ORDER_START_TIME_ASC, pb.BOOKING_ORDER_START_TIME_DESC
PENDING, CANCELLED, CONFIRMED = pb.BOOKING_STATE_PENDING, pb.BOOKING_STATE_CANCELLED, pb.BOOKING_STATE_CONFIRMED
SIZES = [1, 2, 3, 99, 100, 101, 1000]
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@dataclass(frozen=True)
class Full:
    """A station with many bookings, five to most starts, every seventh of them cancelled; as a list shows them, ascending."""

    station: str
    bookings: list[pb.Booking]

    def ordered(self, order: Any) -> list[pb.Booking]:
        return self.bookings if order == ASC else self.bookings[::-1]

    @property
    def middle(self) -> Timestamp:
        """A time at which bookings start."""
        return self.bookings[COUNT // 2].start_time


@pytest.fixture(scope="module")
async def full(teppan: Teppan) -> Full:
    station = await teppan.station(time_zone="Asia/Tokyo")  # where no clock ever changes
    await teppan.week(station, slots_a_day=SLOTS_A_DAY, capacity=CAPACITY)
    customer, limit = await teppan.customer(station), asyncio.Semaphore(AT_ONCE)

    async def make(number: int) -> pb.Booking:
        slot = number // 5
        request = booking_request(station, customer, date=day(10 + slot // SLOTS_A_DAY))
        request.slot_start.CopyFrom(TimeOfDay(hours=slot % SLOTS_A_DAY * 2))
        who = teppan.member(station)
        async with limit:
            made = (await teppan.bookings.CreateBooking(request, metadata=who)).booking
            if number % 7 == 0:
                cancel = pb.CancelBookingRequest(
                    request_id=new(), station_id=station, booking_id=made.booking_id, cancelled_by=pb.CANCELLED_BY_STATION
                )
                made = (await teppan.bookings.CancelBooking(cancel, metadata=who)).booking
        made.ClearField("price_lines")  # of a list, each shows what all may see at once
        return made  # type: ignore[no-any-return]  # stubs of grpc are untyped

    made = await asyncio.gather(*(make(number) for number in range(COUNT)))
    return Full(station, sorted(made, key=lambda booking: (booking.start_time.ToNanoseconds(), booking.booking_id)))


@pytest.fixture(scope="module")
async def other(teppan: Teppan) -> str:
    """Another station, that has a booking too."""
    station = await teppan.station()
    await teppan.booking(station, await teppan.customer(station))
    return station


def list_(teppan: Teppan, request: pb.ListBookingsRequest) -> Any:
    return teppan.bookings.ListBookings(request, metadata=teppan.member(request.station_id))


async def pages_of(teppan: Teppan, **fields: Any) -> list[pb.ListBookingsResponse]:
    return [page async for page in list_(teppan, pb.ListBookingsRequest(**fields))]


def shown(pages: list[pb.ListBookingsResponse]) -> list[pb.Booking]:
    return [booking for page in pages for booking in page.bookings]


@pytest.mark.parametrize("order", [ASC, DESC])
@pytest.mark.parametrize("size", SIZES)
async def test_a_list_has_every_booking_once_in_order(teppan: Teppan, full: Full, size: int, order: Any) -> None:
    pages = await pages_of(teppan, station_id=full.station, page_size=size, order_by=order)
    assert len({booking.start_time.seconds for booking in full.bookings}) < COUNT  # there are ties
    assert shown(pages) == full.ordered(order)
    assert [len(page.bookings) for page in pages] == [min(size, COUNT - first) for first in range(0, COUNT, size)]
    assert [bool(page.next_page_token) for page in pages] == [True] * (len(pages) - 1) + [False]


async def test_the_latest_comes_first_a_hundred_at_a_time_where_nothing_is_asked(teppan: Teppan, full: Full) -> None:
    pages = await pages_of(teppan, station_id=full.station)
    assert shown(pages) == full.ordered(DESC)
    assert [len(page.bookings) for page in pages] == [100, 100, 5]
    assert shown(await pages_of(teppan, station_id=full.station, page_size=2**31 - 1)) == full.ordered(DESC)


@pytest.mark.parametrize("order", [ASC, DESC])
@pytest.mark.parametrize("size", [3, 99, 101])
@pytest.mark.parametrize("states", [[], [PENDING, CANCELLED]])
async def test_a_list_resumed_at_any_boundary_gives_the_rest_exactly(
    teppan: Teppan, full: Full, size: int, order: Any, states: list[Any]
) -> None:
    asked = {"station_id": full.station, "order_by": order, "states": states}
    pages = await pages_of(teppan, page_size=size, **asked)
    assert shown(pages) == full.ordered(order)

    async def resumed(number: int) -> None:
        rest = await pages_of(teppan, page_size=size, page_token=pages[number].next_page_token, **asked)
        assert [page.bookings for page in rest] == [page.bookings for page in pages[number + 1 :]]
        assert [bool(page.next_page_token) for page in rest] == [True] * (len(rest) - 1) + [False]

    for first in range(0, len(pages) - 1, AT_ONCE):
        await asyncio.gather(*(resumed(number) for number in range(first, min(first + AT_ONCE, len(pages) - 1))))


async def test_a_list_resumed_with_another_page_size_gives_the_rest_too(teppan: Teppan, full: Full) -> None:
    (first,) = await pages_of(teppan, station_id=full.station, page_size=1, page_limit=1)
    rest = await pages_of(teppan, station_id=full.station, page_size=1000, page_token=first.next_page_token)
    assert [*first.bookings, *shown(rest)] == full.ordered(DESC)


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_a_limit_bounds_the_messages_and_the_last_of_them_leads_on(teppan: Teppan, full: Full, limit: int) -> None:
    token, seen = "", []
    while True:
        pages = await pages_of(teppan, station_id=full.station, page_size=20, page_limit=limit, page_token=token)
        assert len(pages) <= limit
        seen += shown(pages)
        if not (token := pages[-1].next_page_token):
            break
        assert len(pages) == limit
    assert seen == full.ordered(DESC)


@pytest.mark.parametrize("order", [ASC, DESC])
@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("states", [[PENDING], [CANCELLED], [CANCELLED, PENDING], [CONFIRMED, CANCELLED], [CONFIRMED]])
async def test_a_list_of_some_states_has_those_only(teppan: Teppan, full: Full, states: list[Any], size: int, order: Any) -> None:
    pages = await pages_of(teppan, station_id=full.station, states=states, page_size=size, order_by=order)
    expected = [booking for booking in full.ordered(order) if booking.state in states]
    assert shown(pages) == expected
    assert len(pages) == max(1, -(-len(expected) // size))


@pytest.mark.parametrize("order", [ASC, DESC])
@pytest.mark.parametrize("states", [[], [PENDING, CANCELLED]])
async def test_a_range_has_its_beginning_and_not_its_end(teppan: Teppan, full: Full, order: Any, states: list[Any]) -> None:
    asked = {"station_id": full.station, "page_size": 10, "order_by": order, "states": states}
    middle = full.middle.seconds
    end = Timestamp(seconds=middle + 6 * 3600)

    def expected(first: int, before: int) -> list[pb.Booking]:
        return [booking for booking in full.ordered(order) if first <= booking.start_time.seconds < before]

    assert expected(middle, middle + 1)
    assert shown(await pages_of(teppan, start_time_from=full.middle, **asked)) == expected(middle, 2**40)
    assert shown(await pages_of(teppan, start_time_before=full.middle, **asked)) == expected(0, middle)
    both = await pages_of(teppan, start_time_from=full.middle, start_time_before=end, **asked)
    assert shown(both) == expected(middle, end.seconds)


async def test_what_comes_and_ends_meanwhile_moves_nothing_else(teppan: Teppan) -> None:
    station = await teppan.station()
    customer = await teppan.customer(station)
    made = [await teppan.booking(station, customer, date=day(10 + number)) for number in range(6)]
    token, seen = "", []
    for number in range(6):
        (page,) = await pages_of(teppan, station_id=station, page_size=1, page_limit=1, page_token=token, order_by=ASC)
        seen += [booking.booking_id for booking in page.bookings]
        await teppan.booking(station, customer, date=day(9), slot_start=TimeOfDay(hours=12 + 3 * (number // 2)))
        token = page.next_page_token
    assert (seen, token) == ([booking.booking_id for booking in made], "")


async def test_a_list_without_bookings_is_one_empty_page(teppan: Teppan, other: str) -> None:
    assert await pages_of(teppan, station_id=await teppan.station()) == [pb.ListBookingsResponse()]
    assert await pages_of(teppan, station_id=other, states=[CONFIRMED]) == [pb.ListBookingsResponse()]


async def refused_token(teppan: Teppan, **fields: Any) -> None:
    refusal = await refused(list_(teppan, pb.ListBookingsRequest(**fields)))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"), fields
    assert list(refusal.fields) == ["page_token"]


async def test_a_token_with_any_one_character_changed_is_refused(teppan: Teppan, full: Full) -> None:
    token = (await pages_of(teppan, station_id=full.station, page_size=3, page_limit=1))[0].next_page_token
    assert await pages_of(teppan, station_id=full.station, page_token=token, page_limit=1)
    who, changed = teppan.member(full.station), [token[:-1], token + "A", token + "="]
    for place, character in enumerate(token):
        near = DIGITS[(DIGITS.index(character) + 1) % 64]
        changed += [f"{token[:place]}{near}{token[place + 1 :]}", f"{token[:place]}*{token[place + 1 :]}"]
    for wrong in changed:
        request = pb.ListBookingsRequest(station_id=full.station, page_token=wrong)
        refusal = await refused(teppan.bookings.ListBookings(request, metadata=who))
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"), wrong


@pytest.mark.parametrize(
    "change",
    [
        {"order_by": ASC},
        {"states": [PENDING]},
        {"start_time_from": Timestamp(seconds=1)},
        {"start_time_from": Timestamp()},
        {"start_time_before": Timestamp(seconds=2**33)},
    ],
)
async def test_a_token_of_another_list_is_refused(teppan: Teppan, full: Full, change: dict[str, Any]) -> None:
    token = (await pages_of(teppan, station_id=full.station, page_size=3, page_limit=1))[0].next_page_token
    await refused_token(teppan, **{"station_id": full.station, "page_token": token, **change})
    theirs = (await pages_of(teppan, station_id=full.station, page_size=1, page_limit=1, **change))[0].next_page_token
    await refused_token(teppan, station_id=full.station, page_token=theirs)


async def test_a_token_of_another_station_is_refused(teppan: Teppan, full: Full, other: str) -> None:
    token = (await pages_of(teppan, station_id=full.station, page_size=3, page_limit=1))[0].next_page_token
    await refused_token(teppan, station_id=other, page_token=token)


async def test_bad_fields_of_a_list_are_named(teppan: Teppan, full: Full) -> None:
    refusal = await refused(list_(teppan, pb.ListBookingsRequest(station_id=full.station, page_size=-1)))
    assert (refusal.code, refusal.reason, list(refusal.fields)) == ("INVALID_ARGUMENT", "FIELDS_INVALID", ["page_size"])
    bad = pb.ListBookingsRequest(
        station_id=full.station, page_size=-1, page_limit=-1, page_token="x" * 2_049, order_by=9,  # type: ignore[arg-type]  # no such order
        states=[0],  # type: ignore[list-item]  # no state
    )  # fmt: skip
    refusal = await refused(list_(teppan, bad))
    assert set(refusal.fields) == {"page_size", "page_limit", "page_token", "order_by", "states[0]"}


def with_time(station: str, field: str, time: Timestamp) -> pb.ListBookingsRequest:
    request = pb.ListBookingsRequest(station_id=station)
    getattr(request, field).CopyFrom(time)
    return request


@pytest.mark.parametrize("field", ["start_time_from", "start_time_before"])
async def test_a_time_that_there_is_not_is_named(teppan: Teppan, full: Full, field: str) -> None:
    for wrong in (Timestamp(seconds=2**40), Timestamp(seconds=1, nanos=-1), Timestamp(seconds=-(2**40))):
        refusal = await refused(list_(teppan, with_time(full.station, field, wrong)))
        assert (refusal.code, refusal.reason, list(refusal.fields)) == ("INVALID_ARGUMENT", "FIELDS_INVALID", [field])


async def test_a_range_that_ends_before_it_begins_is_named(teppan: Teppan, full: Full) -> None:
    request = pb.ListBookingsRequest(station_id=full.station, start_time_from=full.middle, start_time_before=full.middle)
    refusal = await refused(list_(teppan, request))
    assert (refusal.code, list(refusal.fields)) == ("INVALID_ARGUMENT", ["start_time_before"])
