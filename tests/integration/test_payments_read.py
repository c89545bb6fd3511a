"""Payments are read by those who may, in pages that lead on; and other services hear of them."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import pytest
from teppan.common.v1 import events_pb2, options_pb2, references_pb2
from teppan.payments.v1 import payments_pb2 as pb

from dbcommon.tenancy import one_statement
from payments.store import ListQuery, keyset
from tests.integration.stage import Metadata, Teppan, new, payment_request, refused

LISTED = 7


@pytest.fixture
async def station(teppan: Teppan) -> str:
    return await teppan.station()


@pytest.fixture
async def paid(teppan: Teppan, station: str) -> list[pb.Payment]:
    """Payments for two bookings in turn, the newest first."""
    customer = await teppan.customer(station)
    bookings = [(await teppan.booking(station, customer)).booking_id for _ in range(2)]
    return [await teppan.pay(station, bookings[number % 2], 100 + number) for number in range(LISTED)][::-1]


async def pages_of(teppan: Teppan, **fields: Any) -> list[pb.ListPaymentsResponse]:
    request = pb.ListPaymentsRequest(**fields)
    return [page async for page in teppan.payments.ListPayments(request, metadata=teppan.member(request.station_id))]


def shown(pages: list[pb.ListPaymentsResponse]) -> list[pb.Payment]:
    return [payment for page in pages for payment in page.payments]


@pytest.mark.parametrize("size", [1, 2, 3, 100, 1_001])
async def test_a_list_has_every_payment_the_newest_first_and_resumes_at_every_boundary(
    teppan: Teppan, station: str, paid: list[pb.Payment], size: int
) -> None:
    pages = await pages_of(teppan, station_id=station, page_size=size)
    assert shown(pages) == paid
    assert [len(page.payments) for page in pages] == [min(size, LISTED - first) for first in range(0, LISTED, size)]
    assert [bool(page.next_page_token) for page in pages] == [True] * (len(pages) - 1) + [False]
    for place, page in enumerate(pages[:-1]):
        rest = await pages_of(teppan, station_id=station, page_size=size, page_token=page.next_page_token)
        assert [later.payments for later in rest] == [later.payments for later in pages[place + 1 :]]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
async def test_a_list_of_one_booking_has_its_payments_only(teppan: Teppan, station: str, paid: list[pb.Payment], size: int) -> None:
    booking = paid[0].booking_id
    pages = await pages_of(teppan, station_id=station, booking_id=booking, page_size=size)
    assert shown(pages) == [payment for payment in paid if payment.booking_id == booking]
    assert await pages_of(teppan, station_id=station, booking_id=new(), page_size=size) == [pb.ListPaymentsResponse()]


async def test_page_by_page_a_list_is_the_same_whatever_comes_meanwhile(
    teppan: Teppan, station: str, paid: list[pb.Payment]
) -> None:
    token = ""
    seen: list[pb.Payment] = []
    while True:
        (page,) = await pages_of(teppan, station_id=station, page_size=2, page_limit=1, page_token=token)
        seen += page.payments
        await teppan.pay(station, paid[0].booking_id, 1)
        if not (token := page.next_page_token):
            break
    assert seen == paid


MANY = """INSERT INTO payments.payments
SELECT $1, gen_random_uuid(), $2, gen_random_uuid(), 1, 1, 1, 1, 'EUR', NULL, '', 1, at, at
  FROM generate_series(1, $3::int) n, LATERAL (SELECT '2026-01-01Z'::timestamptz + make_interval(secs => n) AS at) t"""


@pytest.mark.parametrize("of_booking", [False, True])
async def test_every_list_is_a_range_of_its_own_index(
    teppan: Teppan, station: str, paid: list[pb.Payment], of_booking: bool  # noqa: FBT001  # a parameter of the test
) -> None:  # fmt: skip
    many, few = UUID(paid[0].booking_id), UUID(paid[1].booking_id)
    query = ListQuery(
        station_id=UUID(station), booking_id=few if of_booking else None, page_size=2, after=(datetime.now(UTC), UUID(int=0))
    )  # fmt: skip
    body, parameters = keyset(query).statement()
    owner = await asyncpg.connect(teppan.server.url(teppan.database, "payments_owner"))
    await owner.execute(MANY, UUID(station), many, 1_000)
    await owner.execute("ANALYZE payments.payments")
    rows = await owner.fetch(f"EXPLAIN {one_statement(body)}", UUID(station), *parameters)
    await owner.close()
    plan = "\n".join(row[0] for row in rows)
    columns = "station_id_booking_id_create_time_id" if of_booking else "station_id_create_time_id"
    assert f"Index Scan Backward using payments_{columns}_idx" in plan, plan
    assert "Sort" not in plan


async def test_an_empty_list_is_one_empty_page(teppan: Teppan, station: str) -> None:
    assert await pages_of(teppan, station_id=station) == [pb.ListPaymentsResponse()]


async def test_a_token_of_another_list_is_refused(teppan: Teppan, station: str, paid: list[pb.Payment]) -> None:
    token = (await pages_of(teppan, station_id=station, page_size=1, page_limit=1))[0].next_page_token
    other = await teppan.station()
    for request in (
        pb.ListPaymentsRequest(station_id=station, booking_id=paid[0].booking_id, page_token=token),
        pb.ListPaymentsRequest(station_id=other, page_token=token),
        pb.ListPaymentsRequest(station_id=station, page_token=token[1:]),
    ):
        refusal = await refused(teppan.payments.ListPayments(request, metadata=teppan.member(request.station_id)))
        assert (refusal.code, refusal.reason, list(refusal.fields)) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", ["page_token"])


async def test_bad_fields_of_reads_are_named_at_once(teppan: Teppan, station: str) -> None:
    metadata = teppan.member(station)
    request = pb.ListPaymentsRequest(
        station_id=station, booking_id="1", page_size=-1, page_limit=-1, page_token="x" * 2_049
    )  # fmt: skip
    refusal = await refused(teppan.payments.ListPayments(request, metadata=metadata))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "FIELDS_INVALID")
    assert set(refusal.fields) == {"booking_id", "page_size", "page_limit", "page_token"}
    refusal = await refused(teppan.payments.GetPayment(pb.GetPaymentRequest(station_id=station), metadata=metadata))
    assert (refusal.reason, list(refusal.fields)) == ("FIELDS_INVALID", ["payment_id"])


async def test_a_payment_of_another_station_is_as_unknown_as_none(teppan: Teppan, station: str, paid: list[pb.Payment]) -> None:
    other = await teppan.station()
    answers = []
    for payment_id in (paid[0].payment_id, new()):
        request = pb.GetPaymentRequest(station_id=other, payment_id=payment_id)
        refusal = await refused(teppan.payments.GetPayment(request, metadata=teppan.member(other)))
        assert refusal.metadata["payment_id"] == payment_id
        answers.append((refusal.code, refusal.reason, refusal.message))
    assert answers == [("NOT_FOUND", "PAYMENT_NOT_FOUND", answers[0][2])] * 2
    assert shown(await pages_of(teppan, station_id=other)) == []


async def test_who_may_do_what(teppan: Teppan, station: str, paid: list[pb.Payment]) -> None:
    outsider, viewer, agent, support = (
        teppan.member(new()),
        teppan.member(station, options_pb2.ROLE_VIEWER),
        teppan.member(station, options_pb2.ROLE_AGENT),
        teppan.bearer(platform_role=options_pb2.PLATFORM_ROLE_SUPPORT),
    )
    one = pb.GetPaymentRequest(station_id=station, payment_id=paid[0].payment_id)
    every = pb.ListPaymentsRequest(station_id=station)
    more = payment_request(station, paid[0].booking_id, 1)

    async def denied(call: Any, who: Metadata) -> None:
        refusal = await refused(call(metadata=who))
        assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")

    def create(metadata: Metadata = ()) -> Any:
        return teppan.payments.CreatePayment(more, metadata=metadata)

    def get(metadata: Metadata = ()) -> Any:
        return teppan.payments.GetPayment(one, metadata=metadata)

    def list_(metadata: Metadata = ()) -> Any:
        return teppan.payments.ListPayments(every, metadata=metadata)

    for call in (create, get, list_):
        assert (await refused(call())).reason == "TOKEN_MISSING"
        await denied(call, outsider)
        await denied(call, teppan.service("bookings"))
    for who in (viewer, support):
        await denied(create, who)
        assert (await get(metadata=who)).payment == paid[0]
        assert [page async for page in list_(metadata=who)]
    assert (await create(metadata=agent)).payment.amount_minor == 1


async def test_payments_and_accounts_reach_the_feed(teppan: Teppan, station: str) -> None:
    booking = await teppan.booking(station, await teppan.customer(station))
    request = events_pb2.StreamEventsRequest(latest=True, station_ids=[station])
    stream = teppan.events("payments").StreamEvents(request, metadata=teppan.service("bookings"))
    await stream.read()  # the place where it begins
    paid = [
        await teppan.pay(station, booking.booking_id, 600),
        await teppan.pay(station, booking.booking_id, 70, kind=pb.PAYMENT_KIND_GRATUITY),
    ]
    events: list[events_pb2.Event] = []
    async with asyncio.timeout(10):
        while len(events) < 4:
            events += (await stream.read()).events
    stream.cancel()
    made = [event for event in events if event.type == "payments.Payment"]
    assert [(event.entity_id, event.version, unpacked(event, pb.Payment)) for event in made] == [
        (payment.payment_id, 1, payment) for payment in paid
    ]
    accounts = [event for event in events if event.type == "payments.Account"]
    assert [(event.entity_id, event.version) for event in accounts] == [(booking.booking_id, 1), (booking.booking_id, 2)]
    last = pb.Account(
        booking_id=booking.booking_id, station_id=station, currency_code="EUR", total_minor=55_000, captured_minor=600,
        gratuity_minor=70,
    )  # fmt: skip
    assert unpacked(accounts[1], pb.Account) == last


def unpacked(event: events_pb2.Event, kind: Any) -> Any:
    message = kind()
    assert event.payload.Unpack(message)
    return message


async def test_a_refused_payment_is_no_event(teppan: Teppan, station: str) -> None:
    booking = await teppan.booking(station, await teppan.customer(station))
    request = events_pb2.StreamEventsRequest(latest=True, station_ids=[station])
    stream = teppan.events("payments").StreamEvents(request, metadata=teppan.service("bookings"))
    await stream.read()
    too_much = payment_request(station, booking.booking_id, 55_001)
    await refused(teppan.payments.CreatePayment(too_much, metadata=teppan.member(station)))
    made = await teppan.pay(station, booking.booking_id, 1)
    async with asyncio.timeout(10):
        while not (events := (await stream.read()).events):
            pass
    stream.cancel()
    assert events[0].entity_id == made.payment_id


async def test_only_services_follow_the_feed_and_ask_for_references(teppan: Teppan, station: str) -> None:
    ask = references_pb2.CheckReferencesRequest(type="payments.Payment", items=[references_pb2.ReferenceItem(id=new())])
    for call in (
        teppan.events("payments").StreamEvents(events_pb2.StreamEventsRequest(), metadata=teppan.admin),
        teppan.references("payments").CheckReferences(ask, metadata=teppan.admin),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED.name, "PERMISSION_DENIED")
