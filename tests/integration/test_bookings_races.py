"""No slot above its capacity, and one effect for each request, whoever comes at the same time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import pytest
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.bookings.v1 import slots_pb2

from bookings.domain.slots import Slot
from tests.integration.stage import Teppan, booking_request, day, new, refusal_of, refused

CALLERS = 200
CAPACITY = 2


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


def create(teppan: Teppan, request: pb.CreateBookingRequest, who: Any = None) -> Any:
    return teppan.bookings.CreateBooking(request, metadata=who or teppan.member(request.station_id))


async def cancel(teppan: Teppan, booking: pb.Booking, **changes: Any) -> pb.Booking:
    request = pb.CancelBookingRequest(
        request_id=new(), station_id=booking.station_id, booking_id=booking.booking_id, cancelled_by=pb.CANCELLED_BY_CUSTOMER
    )
    request.MergeFrom(pb.CancelBookingRequest(**changes))
    answer: pb.CancelBookingResponse = await teppan.bookings.CancelBooking(request, metadata=teppan.member(booking.station_id))
    return answer.booking


async def two_of_many(teppan: Teppan, rows: asyncpg.Connection, *, ahead: int = 10) -> None:
    """Many book one slot of two at once: two do, the others hear that it is full, and nothing else happens."""
    station = await teppan.station()
    customer, agent, date = await teppan.customer(station), teppan.member(station), day(ahead)
    calls = [create(teppan, booking_request(station, customer, date=date), agent) for _ in range(CALLERS)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    made = [answer.booking for answer in answers if isinstance(answer, pb.CreateBookingResponse)]
    refusals = [refusal_of(answer) for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    expected = ("FAILED_PRECONDITION", "SLOT_FULL", date.isoformat(), "12:00", str(CAPACITY))
    heard = {
        (refusal.code, refusal.reason, *(refusal.metadata.get(name) for name in ("date", "start", "capacity")))
        for refusal in refusals
    }
    assert heard == {expected}
    assert (len(made), len(refusals)) == (CAPACITY, CALLERS - CAPACITY)
    stored = await rows.fetch("SELECT id, state FROM bookings.bookings WHERE station_id = $1", UUID(station))
    assert {str(row["id"]) for row in stored} == {booking.booking_id for booking in made}
    assert await rows.fetchval("SELECT taken FROM bookings.slots WHERE station_id = $1", UUID(station)) == CAPACITY
    requests = "SELECT count(*) FILTER (WHERE made_id IS NULL), count(*) FROM bookings.requests WHERE station_id = $1 AND method = 'CreateBooking'"
    assert tuple(await rows.fetchrow(requests, UUID(station))) == (CALLERS - CAPACITY, CALLERS)


@pytest.mark.parametrize("number", range(3))
async def test_of_two_hundred_who_book_two_places_two_do(teppan: Teppan, rows: asyncpg.Connection, number: int) -> None:
    await two_of_many(teppan, rows, ahead=10 + number)


@pytest.mark.long
@pytest.mark.parametrize("number", range(20))
async def test_of_two_hundred_who_book_two_places_two_do_however_often(
    teppan: Teppan, rows: asyncpg.Connection, number: int
) -> None:
    await two_of_many(teppan, rows, ahead=10 + number)


async def test_the_database_refuses_too_where_the_code_forgets_the_capacity(
    teppan: Teppan, rows: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slot, "places_left", property(lambda _: 1))
    await two_of_many(teppan, rows)


@pytest.mark.parametrize("statement", ["UPDATE bookings.slots SET taken = taken + 1", "UPDATE bookings.bookings SET state = 2"])
async def test_not_even_a_bare_statement_takes_a_third_place(
    teppan: Teppan, station: str, customer: str, rows: asyncpg.Connection, statement: str
) -> None:
    await cancel(teppan, await teppan.booking(station, customer))
    for _ in range(CAPACITY):
        await teppan.booking(station, customer)
    with pytest.raises(asyncpg.CheckViolationError) as refusal:
        await rows.execute(
            f"{statement.replace('state = 2', 'state = 2, cancel_time = NULL')} WHERE station_id = $1", UUID(station)
        )
    assert refusal.value.constraint_name == "slots_within_capacity"


async def test_copies_of_a_request_sent_at_once_make_one_booking(
    teppan: Teppan, station: str, customer: str, rows: asyncpg.Connection
) -> None:
    request, agent = booking_request(station, customer), teppan.member(station)
    answers = await asyncio.gather(*(create(teppan, request, agent) for _ in range(10)))
    assert all(answer == answers[0] for answer in answers)
    stored = await rows.fetch("SELECT id FROM bookings.bookings WHERE station_id = $1", UUID(station))
    assert [str(row["id"]) for row in stored] == [answers[0].booking.booking_id]
    assert await rows.fetchval("SELECT taken FROM bookings.slots WHERE station_id = $1", UUID(station)) == 1


async def test_a_repeat_gives_the_booking_as_it_is_now(teppan: Teppan, station: str, customer: str) -> None:
    request, agent = booking_request(station, customer), teppan.member(station)
    first = (await create(teppan, request, agent)).booking
    assert (await create(teppan, request, agent)).booking == first
    cancelled = await cancel(teppan, first)
    assert (await create(teppan, request, agent)).booking == cancelled
    assert cancelled.state == pb.BOOKING_STATE_CANCELLED


@pytest.mark.parametrize("change", [{"requests": "a window"}, {"guests": pb.Guests(adults=3)}])
async def test_a_request_id_is_for_one_content(teppan: Teppan, station: str, customer: str, change: dict[str, Any]) -> None:
    request, agent = booking_request(station, customer), teppan.member(station)
    await create(teppan, request, agent)
    request.MergeFrom(pb.CreateBookingRequest(**change))
    refusal = await refused(create(teppan, request, agent))
    assert (refusal.code, refusal.reason, list(refusal.fields)) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED", ["request_id"])


async def test_a_request_id_is_one_callers(teppan: Teppan, station: str, customer: str) -> None:
    request = booking_request(station, customer)
    ann, bo = teppan.member(station), teppan.member(station)
    first, second = (await create(teppan, request, ann)).booking, (await create(teppan, request, bo)).booking
    assert first.booking_id != second.booking_id


async def test_a_refusal_is_remembered_and_a_new_request_is_not_bound_by_it(teppan: Teppan, station: str, customer: str) -> None:
    made = [await teppan.booking(station, customer) for _ in range(CAPACITY)]
    request, agent = booking_request(station, customer), teppan.member(station)
    first = await refused(create(teppan, request, agent))
    assert (first.code, first.reason) == ("FAILED_PRECONDITION", "SLOT_FULL")
    await cancel(teppan, made[0])
    again = await refused(create(teppan, request, agent))
    assert (again.code, again.reason, again.message) == (first.code, first.reason, first.message)
    assert {name: again.metadata[name] for name in ("date", "start", "capacity")} == {
        name: first.metadata[name] for name in ("date", "start", "capacity")
    }
    request.request_id = new()
    assert (await create(teppan, request, agent)).booking.state == pb.BOOKING_STATE_PENDING


async def test_of_many_who_cancel_at_once_one_does_and_one_place_is_free(
    teppan: Teppan, station: str, customer: str, rows: asyncpg.Connection
) -> None:
    booking = await teppan.booking(station, customer)
    await teppan.booking(station, customer)
    answers = await asyncio.gather(*(cancel(teppan, booking) for _ in range(10)), return_exceptions=True)
    refusals = [refusal_of(answer) for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {(refusal.code, refusal.reason) for refusal in refusals} == {("FAILED_PRECONDITION", "BOOKING_STATE")}
    assert len(refusals) == len(answers) - 1
    assert await rows.fetchval("SELECT taken FROM bookings.slots WHERE station_id = $1", UUID(station)) == 1


async def test_bookings_and_cancellations_at_once_never_deadlock(
    teppan: Teppan, station: str, customer: str, rows: asyncpg.Connection
) -> None:
    agent = teppan.member(station)

    async def come_and_go() -> str:
        try:
            booking = (await create(teppan, booking_request(station, customer), agent)).booking
            await cancel(teppan, booking)
        except grpc.aio.AioRpcError as error:
            return refusal_of(error).reason
        return ""

    heard = await asyncio.gather(*(come_and_go() for _ in range(60)))
    assert set(heard) <= {"", "SLOT_FULL"}
    assert "" in heard
    assert await rows.fetchval("SELECT taken FROM bookings.slots WHERE station_id = $1", UUID(station)) == 0


@pytest.mark.parametrize("etag", ["0", ""])
async def test_of_two_first_schedules_sent_at_once_an_etag_lets_one_pass(teppan: Teppan, station: str, etag: str) -> None:
    await teppan.customer(station)  # the station is known: both go straight to the database
    slots = [slots_pb2.ScheduledSlot(weekday=1, length_minutes=60, capacity=1)]
    slots[0].start.hours = 9

    def update() -> Any:
        request = slots_pb2.UpdateScheduleRequest(request_id=new(), station_id=station, slots=slots, etag=etag)
        return teppan.slots.UpdateSchedule(request, metadata=teppan.member(station))

    answers = await asyncio.gather(*(update() for _ in range(8)), return_exceptions=True)
    made = sorted(int(answer.schedule.etag) for answer in answers if isinstance(answer, slots_pb2.UpdateScheduleResponse))
    refusals = [refusal_of(answer) for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {(refusal.code, refusal.reason) for refusal in refusals} <= {("ABORTED", "ETAG_STALE")}
    assert made == ([1] if etag else list(range(1, 9)))


async def test_a_reference_that_is_taken_is_drawn_again_up_to_five_times(
    teppan: Teppan, station: str, customer: str, rows: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter([7, 7, 7, 7, 7, 8, 7, 8, 7, 8, 7])
    monkeypatch.setattr("bookings.__main__.secrets.randbelow", lambda _: next(drawn))
    first = await teppan.booking(station, customer)
    request, agent = booking_request(station, customer, date=day(11)), teppan.member(station)
    second = (await create(teppan, request, agent)).booking
    assert second.reference != first.reference
    assert (await create(teppan, request, agent)).booking == second
    assert (await refused(create(teppan, booking_request(station, customer, date=day(12))))).code == "INTERNAL"
    assert list(drawn) == []
    taken = await rows.fetch("SELECT taken FROM bookings.slots WHERE station_id = $1 ORDER BY local_date", UUID(station))
    assert [row["taken"] for row in taken] == [1, 1]
