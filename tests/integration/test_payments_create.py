"""Money is taken once for each request, for open bookings only, and never more than is owed."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import pytest
from teppan.bookings.v1 import bookings_pb2
from teppan.identity.v1 import stations_pb2
from teppan.payments.v1 import payments_pb2 as pb

from dbcommon.inbox import Freshness
from faults import FeedStale
from tests.integration.stage import Teppan, eventually, new, payment_request, refused

TOTAL_MINOR = 55_000
GRATUITY = pb.PAYMENT_KIND_GRATUITY


@pytest.fixture
async def station(teppan: Teppan) -> str:
    return await teppan.station()


@pytest.fixture
async def booking(teppan: Teppan, station: str) -> str:
    return await booked(teppan, station)


@pytest.fixture
async def rows(teppan: Teppan) -> AsyncIterator[asyncpg.Connection]:
    async with connected(teppan) as connection:
        yield connection


def connected(teppan: Teppan) -> Any:
    """Sees all stations' rows of payments."""
    return asyncpg.create_pool(teppan.server.url(teppan.database, "payments_platform"), min_size=1, max_size=1)


async def booked(teppan: Teppan, station: str) -> str:
    """A booking of 55,000 minor units of euros."""
    made = await teppan.booking(station, await teppan.customer(station))
    assert (made.total_minor, made.currency_code) == (TOTAL_MINOR, "EUR")
    return str(made.booking_id)


async def cancel(teppan: Teppan, station: str, booking: str) -> None:
    request = bookings_pb2.CancelBookingRequest(
        request_id=new(), station_id=station, booking_id=booking, cancelled_by=bookings_pb2.CANCELLED_BY_CUSTOMER
    )
    await teppan.bookings.CancelBooking(request, metadata=teppan.member(station))


async def listed(teppan: Teppan, station: str) -> list[pb.Payment]:
    pages = teppan.payments.ListPayments(pb.ListPaymentsRequest(station_id=station), metadata=teppan.member(station))
    return [payment async for page in pages for payment in page.payments]


def create(teppan: Teppan, request: pb.CreatePaymentRequest) -> Any:
    return teppan.payments.CreatePayment(request, metadata=teppan.member(request.station_id))


async def test_cash_is_captured_at_once_for_the_bookings_customer(teppan: Teppan, station: str) -> None:
    customer = await teppan.customer(station)
    booking = await teppan.booking(station, customer)
    made = await teppan.pay(station, booking.booking_id, 10_000)
    assert (made.station_id, made.booking_id, made.customer_id) == (station, booking.booking_id, customer)
    assert (made.kind, made.method, made.state) == (pb.PAYMENT_KIND_DEPOSIT, pb.PAYMENT_METHOD_CASH, pb.PAYMENT_STATE_CAPTURED)
    assert (made.amount_minor, made.currency_code, made.etag) == (10_000, "EUR", "1")
    request = pb.GetPaymentRequest(station_id=station, payment_id=made.payment_id)
    assert (await teppan.payments.GetPayment(request, metadata=teppan.member(station))).payment == made


async def test_all_that_is_owed_can_be_paid_and_not_a_unit_more(teppan: Teppan, station: str, booking: str) -> None:
    await teppan.pay(station, booking, 10_000)
    refusal = await refused(create(teppan, payment_request(station, booking, 45_001)))
    assert (refusal.code, refusal.reason, refusal.metadata["owed_minor"]) == ("FAILED_PRECONDITION", "OVERPAID", "45000")
    await teppan.pay(station, booking, 45_000, kind=pb.PAYMENT_KIND_BALANCE)
    refusal = await refused(create(teppan, payment_request(station, booking, 1)))
    assert (refusal.reason, refusal.metadata["owed_minor"]) == ("OVERPAID", "0")
    assert len(await listed(teppan, station)) == 2


async def test_a_gratuity_is_taken_where_nothing_is_owed_any_more(teppan: Teppan, station: str, booking: str) -> None:
    await teppan.pay(station, booking, TOTAL_MINOR, kind=pb.PAYMENT_KIND_FULL)
    made = await teppan.pay(station, booking, 5_000_000, kind=GRATUITY)
    assert (made.kind, made.amount_minor) == (GRATUITY, 5_000_000)


async def test_another_currency_is_refused_and_the_request_can_be_mended(teppan: Teppan, station: str, booking: str) -> None:
    request = payment_request(station, booking, 100, currency_code="USD")
    refusal = await refused(create(teppan, request))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "CURRENCY_MISMATCH")
    assert (list(refusal.fields), refusal.metadata["currency_code"]) == (["currency_code"], "EUR")
    request.currency_code = "EUR"
    assert (await create(teppan, request)).payment.amount_minor == 100


async def test_the_same_request_again_gives_the_same_payment(teppan: Teppan, station: str, booking: str) -> None:
    request = payment_request(station, booking, 30_000)
    metadata = teppan.member(station)
    first = (await teppan.payments.CreatePayment(request, metadata=metadata)).payment
    assert (await teppan.payments.CreatePayment(request, metadata=metadata)).payment == first  # and 60,000 are not owed
    await cancel(teppan, station, booking)
    assert (await teppan.payments.CreatePayment(request, metadata=metadata)).payment == first
    assert await listed(teppan, station) == [first]


async def test_ten_copies_of_a_request_at_once_make_one_payment(
    teppan: Teppan, station: str, booking: str, rows: asyncpg.Connection
) -> None:
    request, metadata = payment_request(station, booking, 30_000), teppan.member(station)
    made = await asyncio.gather(*(teppan.payments.CreatePayment(request, metadata=metadata) for _ in range(10)))
    assert await listed(teppan, station) == [made[0].payment]
    assert all(answer == made[0] for answer in made)
    account = await rows.fetchrow("SELECT * FROM payments.booking_accounts WHERE booking_id = $1", UUID(booking))
    assert (account["captured_minor"], account["money_version"]) == (30_000, 1)


async def test_a_request_id_does_not_serve_twice(teppan: Teppan, station: str, booking: str) -> None:
    request, metadata = payment_request(station, booking, 100), teppan.member(station)
    await teppan.payments.CreatePayment(request, metadata=metadata)
    request.amount_minor = 101
    refusal = await refused(teppan.payments.CreatePayment(request, metadata=metadata))
    assert (refusal.code, refusal.reason, list(refusal.fields)) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED", ["request_id"])


async def test_a_refusal_by_the_rule_stays_refused(teppan: Teppan, station: str, booking: str) -> None:
    request, metadata = payment_request(station, booking, TOTAL_MINOR + 1), teppan.member(station)
    first = await refused(teppan.payments.CreatePayment(request, metadata=metadata))
    await teppan.pay(station, booking, 5_000)
    again = await refused(teppan.payments.CreatePayment(request, metadata=metadata))
    assert (again.reason, again.metadata["owed_minor"], again.message) == ("OVERPAID", str(TOTAL_MINOR), first.message)


async def test_every_bad_field_is_named_at_once(teppan: Teppan, station: str) -> None:
    request = pb.CreatePaymentRequest(
        request_id="1", station_id=station, booking_id="2", kind=9, amount_minor=-1, currency_code="eur"  # type: ignore[arg-type]  # no such kind
    )  # fmt: skip
    refusal = await refused(create(teppan, request))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "FIELDS_INVALID")
    assert set(refusal.fields) == {"request_id", "booking_id", "kind", "method", "amount_minor", "currency_code"}


async def test_a_booking_that_is_not_there_and_one_of_another_station_get_the_same_answer(teppan: Teppan, station: str) -> None:
    other = await teppan.station()
    theirs = await booked(teppan, other)
    await teppan.pay(other, theirs, 100)  # its account is known, and does not help
    answers = [await refused(create(teppan, payment_request(station, booking, 100))) for booking in (new(), theirs)]
    for refusal in answers:
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "REFERENCE_NOT_FOUND")
        assert (refusal.metadata["field"], refusal.metadata["type"]) == ("booking_id", "bookings.Booking")
    assert answers[0].message == answers[1].message
    assert await listed(teppan, station) == []


@pytest.mark.parametrize("paid_before", [0, 100])
async def test_a_cancelled_booking_takes_no_money(
    teppan: Teppan, station: str, booking: str, rows: asyncpg.Connection, paid_before: int
) -> None:
    if paid_before:
        await teppan.pay(station, booking, paid_before)
    await cancel(teppan, station, booking)
    refusal = await refused(create(teppan, payment_request(station, booking, 100)))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "REFERENCE_CLOSED")
    assert (refusal.metadata["field"], refusal.metadata["type"]) == ("booking_id", "bookings.Booking")
    assert sum(payment.amount_minor for payment in await listed(teppan, station)) == paid_before

    async def closed() -> None:
        state = await rows.fetchval("SELECT state FROM payments.booking_accounts WHERE booking_id = $1", UUID(booking))
        assert state == 3

    await eventually(closed)


async def test_a_station_that_is_not_there_is_named(teppan: Teppan) -> None:
    refusal = await refused(teppan.payments.CreatePayment(payment_request(new(), new(), 100), metadata=teppan.admin))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "REFERENCE_NOT_FOUND")
    assert (refusal.metadata["field"], refusal.metadata["type"]) == ("station_id", "identity.Station")


async def test_a_suspended_station_takes_no_money(teppan: Teppan, station: str, booking: str) -> None:
    await teppan.pay(station, booking, 100)
    request = stations_pb2.SuspendStationRequest(request_id=new(), station_id=station)
    await teppan.stations.SuspendStation(request, metadata=teppan.admin)

    async def refuses() -> None:
        refusal = await refused(create(teppan, payment_request(station, booking, 1)))
        assert (refusal.code, refusal.reason, refusal.metadata["field"]) == (
            "FAILED_PRECONDITION",
            "REFERENCE_CLOSED",
            "station_id",
        )

    await eventually(refuses)


async def test_twenty_at_once_never_take_more_than_is_owed(
    teppan: Teppan, station: str, booking: str, rows: asyncpg.Connection
) -> None:
    calls = [create(teppan, payment_request(station, booking, 5_000)) for _ in range(20)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, pb.CreatePaymentResponse) for answer in answers) == TOTAL_MINOR // 5_000
    for answer in answers:
        if isinstance(answer, BaseException):
            assert isinstance(answer, grpc.aio.AioRpcError)
            assert answer.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert sum(payment.amount_minor for payment in await listed(teppan, station)) == TOTAL_MINOR
    account = await rows.fetchrow("SELECT * FROM payments.booking_accounts WHERE booking_id = $1", UUID(booking))
    assert account["captured_minor"] == TOTAL_MINOR


async def test_the_database_refuses_too_where_the_rule_is_gone(
    teppan: Teppan, station: str, booking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def anything_goes(account: Any, wanted: Any) -> Any:
        return type(account)(**{name: getattr(account, name) for name in account.__slots__} | {
            "captured_minor": account.captured_minor + wanted.amount_minor, "version": account.version + 1,
        })  # fmt: skip

    monkeypatch.setattr("payments.usecases.receive", anything_goes)
    await teppan.pay(station, booking, 50_000)
    refusal = await refused(create(teppan, payment_request(station, booking, 5_001)))
    assert (refusal.code, refusal.reason, refusal.metadata["owed_minor"]) == ("FAILED_PRECONDITION", "OVERPAID", "5000")
    assert len(await listed(teppan, station)) == 1


async def test_a_paid_deposit_confirms_the_booking(teppan: Teppan, station: str, booking: str) -> None:
    await teppan.pay(station, booking, 9_999)
    await teppan.pay(station, booking, 50, kind=GRATUITY)
    await teppan.pay(station, booking, 1)

    async def confirmed() -> None:
        request = bookings_pb2.GetBookingRequest(station_id=station, booking_id=booking)
        found = (await teppan.bookings.GetBooking(request, metadata=teppan.member(station))).booking
        assert (found.state, found.paid_minor) == (bookings_pb2.BOOKING_STATE_CONFIRMED, 10_000)

    await eventually(confirmed)


@pytest.mark.parametrize("stale", ["bookings", "identity"])
async def test_no_money_is_taken_on_old_news(
    teppan: Teppan, station: str, booking: str, monkeypatch: pytest.MonkeyPatch, stale: str
) -> None:
    def require(_: Freshness, owner: str) -> None:
        if owner == stale:
            raise FeedStale(f"not heard from {owner}", feed=owner)

    monkeypatch.setattr(Freshness, "require", require)
    refusal = await refused(create(teppan, payment_request(station, booking, 100)))
    assert (refusal.code, refusal.reason, refusal.metadata["feed"]) == ("UNAVAILABLE", "FEED_STALE", stale)
    assert refusal.retry_seconds
    monkeypatch.undo()
    assert await listed(teppan, station) == []


async def test_without_bookings_money_waits_and_nothing_is_written(own: Teppan) -> None:
    station = await own.station()
    known, unknown = await booked(own, station), await booked(own, station)
    await own.pay(station, known, 100)
    await own.stop("bookings")
    requests, metadata = [payment_request(station, booking, 200) for booking in (known, unknown)], own.member(station)
    for request in requests:
        began = time.monotonic()
        refusal = await refused(own.payments.CreatePayment(request, metadata=metadata))
        assert (refusal.code, refusal.reason, refusal.metadata["peer"]) == ("UNAVAILABLE", "PEER_UNAVAILABLE", "bookings")
        assert refusal.retry_seconds
        assert time.monotonic() - began < 1
    assert [payment.amount_minor for payment in await listed(own, station)] == [100]
    async with connected(own) as rows:
        found = "SELECT count(*) FROM payments.requests WHERE station_id = $1"
        assert await rows.fetchval(found, UUID(station)) == 1
        found = "SELECT count(*) FROM payments.booking_accounts WHERE station_id = $1"
        assert await rows.fetchval(found, UUID(station)) == 1
    await own.start("bookings")
    for request in requests:
        await eventually(lambda request=request: own.payments.CreatePayment(request, metadata=metadata))
    assert [payment.amount_minor for payment in await listed(own, station)] == [200, 200, 100]


async def test_without_identity_a_known_station_still_takes_money(own: Teppan) -> None:
    station = await own.station()
    booking = await booked(own, station)
    await own.pay(station, booking, 100)
    await own.stop("identity")
    assert (await own.pay(station, booking, 200)).amount_minor == 200
    refusal = await refused(own.payments.CreatePayment(payment_request(new(), new(), 100), metadata=own.admin))
    assert (refusal.code, refusal.reason, refusal.metadata["peer"]) == ("UNAVAILABLE", "PEER_UNAVAILABLE", "identity")
