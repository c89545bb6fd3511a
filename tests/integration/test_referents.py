"""An owner streams all its things, for who has lost the thread of its feed: the head first, then pages by ID."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from teppan.bookings.v1 import bookings_pb2
from teppan.common.v1 import events_pb2
from teppan.common.v1 import references_pb2 as pb
from teppan.identity.v1 import users_pb2
from teppan.payments.v1 import payments_pb2

from dbcommon.database import Database, Transaction
from dbcommon.feed import Feed
from dbcommon.references import Found, Listed, referents
from dbcommon.relay import Relay
from faults import FeedStale
from ids import new_id
from local.database import Server
from tests.integration.stage import Teppan, eventually, new, refused

OWNED = {"identity": ("identity.Station", "identity.User"), "bookings": ("bookings.Booking",), "payments": ("payments.Account",)}
PUBLIC_OF_USER = {"user_id", "platform_role", "state", "etag", "create_time", "update_time"}


async def streamed(teppan: Teppan, type: str, **request: Any) -> list[pb.StreamReferentsResponse]:
    stub, who = (
        teppan.references(type.split(".", maxsplit=1)[0]),
        teppan.service("payments" if type.startswith("b") else "bookings"),
    )
    return [message async for message in stub.StreamReferents(pb.StreamReferentsRequest(type=type, **request), metadata=who)]


def things(messages: Sequence[pb.StreamReferentsResponse]) -> dict[str, pb.Referent]:
    """By ID; fails where one came twice, or out of order, or where the end is not marked."""
    ids = [each.id for message in messages for each in message.referents]
    assert ids == sorted(set(ids))
    assert [message.complete for message in messages] == [False] * (len(messages) - 1) + [True]
    return {each.id: each for message in messages for each in message.referents}


async def test_stations_and_bookings_are_streamed_as_a_check_answers_them(teppan: Teppan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbcommon.references.streaming.PAGE_SIZE", 2)
    stations = [await teppan.station() for _ in range(5)]
    await teppan.turn(stations[0], "Suspend")
    await teppan.turn(stations[1], "Delete")
    booking = await teppan.booking(stations[2], await teppan.customer(stations[2]))
    for type, station, wanted in (
        ("identity.Station", None, stations), ("bookings.Booking", stations[2], [booking.booking_id])
    ):  # fmt: skip
        found = things(await streamed(teppan, type))
        items = [pb.ReferenceItem(station_id=station or id, id=id) for id in wanted]
        request = pb.CheckReferencesRequest(type=type, items=items)
        who = teppan.service("payments")
        answers = (await teppan.references(type.split(".")[0]).CheckReferences(request, metadata=who)).answers
        assert [found[id].answer for id in wanted] == list(answers)
        assert [found[id].station_id for id in wanted] == [station or id for id in wanted]


async def test_users_are_streamed_without_what_is_private_and_belong_to_no_station(teppan: Teppan) -> None:
    found = things(await streamed(teppan, "identity.User"))
    assert {each.station_id for each in found.values()} <= {""}
    for each in found.values():
        user = users_pb2.User()
        assert each.answer.facts.Unpack(user)
        assert {field.name for field, _ in user.ListFields()} <= PUBLIC_OF_USER


async def test_accounts_are_streamed_as_their_events_carry_them_once_there_was_money(teppan: Teppan) -> None:
    station = await teppan.station()
    customer = await teppan.customer(station)
    paid, unpaid = [await teppan.booking(station, customer) for _ in range(2)]
    await teppan.pay(station, paid.booking_id, 70)
    assert (await refused(teppan.pay(station, unpaid.booking_id, 10**9))).reason == "OVERPAID"  # known by now, and no money
    found = things(await streamed(teppan, "payments.Account"))
    account = payments_pb2.Account()
    assert found[paid.booking_id].answer.facts.Unpack(account)
    assert (account.booking_id, account.captured_minor, found[paid.booking_id].station_id) == (paid.booking_id, 70, station)
    assert (found[paid.booking_id].answer.state, found[paid.booking_id].answer.version) == (0, 1)
    assert unpaid.booking_id not in found


async def test_a_closed_account_is_streamed_as_closed_or_who_missed_its_event_would_wait_for_ever(teppan: Teppan) -> None:
    station = await teppan.station()
    booking = await teppan.booking(station, await teppan.customer(station))
    cancel = bookings_pb2.CancelBookingRequest(
        request_id=new(), station_id=station, booking_id=booking.booking_id, cancelled_by=bookings_pb2.CANCELLED_BY_STATION
    )
    cancelled = (await teppan.bookings.CancelBooking(cancel, metadata=teppan.admin)).booking

    async def closed() -> None:
        found, account = things(await streamed(teppan, "payments.Account")), payments_pb2.Account()
        assert booking.booking_id in found
        assert found[booking.booking_id].answer.facts.Unpack(account)
        assert (account.closed, account.booking_version) == (True, int(cancelled.etag))

    await eventually(closed)


async def test_a_stream_goes_on_after_an_id(teppan: Teppan) -> None:
    stations = sorted([await teppan.station() for _ in range(3)])
    found = things(await streamed(teppan, "identity.Station", after_id=stations[1]))
    assert stations[2] in found
    assert not {*stations[:2]} & set(found)


async def test_who_has_read_all_of_it_goes_on_with_the_feed_from_its_cursor(teppan: Teppan) -> None:
    messages = await streamed(teppan, "identity.Station")
    assert {message.cursor for message in messages} == {messages[0].cursor}
    station = await teppan.station()
    request = events_pb2.StreamEventsRequest(after_cursor=messages[0].cursor)
    heard = []
    async for batch in teppan.events("identity").StreamEvents(request, metadata=teppan.service("bookings")):
        heard += [event.entity_id for event in batch.events]
        if station in heard:
            break
    assert station in heard


@pytest.mark.parametrize("service", OWNED)
async def test_things_of_others_are_not_streamed_as_none_but_refused(teppan: Teppan, service: str) -> None:
    for type in (*(set().union(*OWNED.values()) - set(OWNED[service])), "identity.Nothing"):
        request = pb.StreamReferentsRequest(type=type)
        answer = await refused(teppan.references(service).StreamReferents(request, metadata=teppan.service("bookings")))
        assert (answer.code, answer.reason, set(answer.fields)) == ("INVALID_ARGUMENT", "FIELDS_INVALID", {"type"})


@pytest.mark.parametrize("service", OWNED)
async def test_things_of_others_are_not_said_to_be_absent_but_refused(teppan: Teppan, service: str) -> None:
    """An answer NOT_FOUND is a reason to delete what refers to it; nothing refers to accounts."""
    for type in ("identity.Nothing", "payments.Account", "payments.Nothing"):
        request = pb.CheckReferencesRequest(type=type, items=[pb.ReferenceItem(id=new())])
        answer = await refused(teppan.references(service).CheckReferences(request, metadata=teppan.service("bookings")))
        assert (answer.code, answer.reason, set(answer.fields)) == ("INVALID_ARGUMENT", "FIELDS_INVALID", {"type"})


# The pages, without a service around them -----------------------------------------------------------------------------


@pytest.fixture
async def platform(server: Server, database: str) -> AsyncIterator[Database]:
    made = Database(server.url(database, "identity_platform"), pool_size=4)
    await Relay(made, "identity", new_id).step()
    yield made
    await made.close()


async def numbers(tx: Transaction, after: UUID | None, limit: int) -> Sequence[Listed]:
    """Four things."""
    first = after.int if after else 0
    return [(UUID(int=n), None, Found(state=2, version=n, facts=None)) for n in range(first + 1, min(first + limit, 4) + 1)]


async def test_a_page_that_is_full_is_followed_by_another_even_an_empty_one(
    platform: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbcommon.references.streaming.PAGE_SIZE", 2)
    feed = Feed(platform, "identity")
    pages = [page async for page in referents(platform, "identity", feed, numbers, None)]
    assert [(len(page.referents), page.complete) for page in pages] == [(2, False), (2, False), (0, True)]


async def test_a_stream_does_not_go_on_in_another_epoch(
    server: Server, database: str, platform: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbcommon.references.streaming.PAGE_SIZE", 2)
    pages = referents(platform, "identity", Feed(platform, "identity"), numbers, None)
    first = await anext(pages)
    rows = await asyncpg.connect(server.url(database))
    await rows.execute("UPDATE identity.epochs SET incarnation = 'another life'")
    await rows.close()
    await Relay(platform, "identity", new_id).step()
    assert (await Feed(platform, "identity").head()).epoch != first.head[0]
    with pytest.raises(FeedStale):
        await anext(pages)


async def test_nothing_is_streamed_before_the_epoch_has_begun(server: Server, database: str, platform: Database) -> None:
    rows = await asyncpg.connect(server.url(database))
    await rows.execute("UPDATE identity.epochs SET incarnation = 'another life'")
    await rows.close()
    with pytest.raises(FeedStale):
        await anext(referents(platform, "identity", Feed(platform, "identity"), numbers, None))
