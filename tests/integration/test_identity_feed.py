"""What other services hear of stations and users, and what they are answered."""

from collections.abc import Awaitable, Callable
from uuid import uuid4

import asyncpg
from google.protobuf.timestamp_pb2 import Timestamp
from teppan.common.v1 import events_pb2, references_pb2
from teppan.common.v1.references_pb2 import REFERENT_STATE_CLOSED, REFERENT_STATE_NOT_FOUND, REFERENT_STATE_OPEN
from teppan.identity.v1 import stations_pb2, users_pb2

from tests.integration.stage import Teppan, new, refused

STATION, USER = "identity.Station", "identity.User"
STREAM_SECONDS = 20


async def heard(teppan: Teppan, act: Callable[[], Awaitable[str]], count: int) -> list[events_pb2.Event]:
    """The events of the entity that `act` makes or changes, so many of them; `act` gives its ID."""
    request = events_pb2.StreamEventsRequest(latest=True)
    call = teppan.events("identity").StreamEvents(request, metadata=teppan.service("bookings"), timeout=STREAM_SECONDS)
    try:
        await call.read()  # it has begun: what happens now follows
        id = await act()
        events: list[events_pb2.Event] = []
        while len(events) < count:
            events += [event for event in (await call.read()).events if event.entity_id == id]
        return events
    finally:
        call.cancel()


async def created(teppan: Teppan) -> users_pb2.User:
    request = users_pb2.CreateUserRequest(request_id=new(), name="Ann Bee", email=f"{uuid4().hex}@example.com", password="x" * 12)
    answer: users_pb2.CreateUserResponse = await teppan.users.CreateUser(request, metadata=teppan.admin)
    return answer.user


async def checked(teppan: Teppan, type: str, *items: tuple[str, str]) -> list[references_pb2.ReferenceAnswer]:
    asked = [references_pb2.ReferenceItem(station_id=station, id=id) for station, id in items]
    request = references_pb2.CheckReferencesRequest(type=type, items=asked)
    answer = await teppan.references("identity").CheckReferences(request, metadata=teppan.service("bookings"))
    return list(answer.answers)


async def test_a_station_is_heard_of_whenever_it_opens_and_closes(teppan: Teppan) -> None:
    async def act() -> str:
        station = await teppan.station()
        await teppan.turn(station, "Suspend", "Resume", "Delete", "Undelete", "Delete")
        return station

    active, suspended, deleted = (stations_pb2.StationState.Value(f"STATION_STATE_{n}") for n in ("ACTIVE", "SUSPENDED", "DELETED"))
    states = [active, suspended, active, deleted, suspended, deleted]
    events = await heard(teppan, act, len(states))
    for version, (event, state) in enumerate(zip(events, states, strict=True), 1):
        carried = stations_pb2.Station()
        assert event.payload.Unpack(carried)
        assert (event.type, event.station_id, event.version) == (STATION, event.entity_id, version)
        referent = REFERENT_STATE_OPEN if state == active else REFERENT_STATE_CLOSED
        assert (event.referent_state, carried.state, carried.etag) == (referent, state, str(version))
        assert carried.HasField("delete_time") == (state == deleted)
        assert (carried.station_id, carried.time_zone, carried.currency_code) == (event.entity_id, "Europe/Berlin", "EUR")
    assert [event.position for event in events] == sorted(event.position for event in events)


async def test_a_user_is_heard_of_when_they_are_disabled_and_enabled(teppan: Teppan) -> None:
    async def act() -> str:
        user = str((await created(teppan)).user_id)
        for verb in ("Disable", "Enable"):
            request = getattr(users_pb2, f"{verb}UserRequest")(request_id=new(), user_id=user)
            await getattr(teppan.users, f"{verb}User")(request, metadata=teppan.admin)
        return user

    active, disabled = users_pb2.USER_STATE_ACTIVE, users_pb2.USER_STATE_DISABLED
    events = await heard(teppan, act, 3)
    for version, (event, state) in enumerate(zip(events, [active, disabled, active], strict=True), 1):
        carried = users_pb2.User()
        assert event.payload.Unpack(carried)
        referent = REFERENT_STATE_OPEN if state == active else REFERENT_STATE_CLOSED
        assert (event.type, event.version, event.referent_state) == (USER, version, referent)
        assert (carried.state, carried.etag, carried.name, carried.email) == (state, str(version), "", "")


async def test_a_user_is_heard_of_without_anything_private(teppan: Teppan) -> None:
    emails = []

    async def act() -> str:
        user = await created(teppan)
        emails.append(user.email)
        return str(user.user_id)

    [event] = await heard(teppan, act, 1)
    carried = users_pb2.User()
    assert event.payload.Unpack(carried)
    assert (event.type, event.station_id, event.version, event.referent_state) == (USER, "", 1, REFERENT_STATE_OPEN)
    assert carried.state == users_pb2.USER_STATE_ACTIVE
    serialised = event.SerializeToString()
    assert emails[0].encode() not in serialised
    assert b"Ann" not in serialised


async def test_what_is_refused_is_not_announced(teppan: Teppan) -> None:
    station = await teppan.station()
    await teppan.turn(station, "Suspend")
    for verb in ("Suspend", "Undelete"):
        assert (await refused(teppan.turn(station, verb))).reason == "STATION_STATE"
    connection = await asyncpg.connect(teppan.server.url(teppan.database, "identity_platform"))
    try:
        statement = (
            "SELECT (SELECT count(*) FROM identity.events WHERE entity_id = $1)"
            " + (SELECT count(*) FROM identity.outbox WHERE entity_id = $1)"
        )
        assert await connection.fetchval(statement, station) == 2
    finally:
        await connection.close()


async def test_stations_are_answered_for_in_order(teppan: Teppan) -> None:
    active, suspended, deleted, resumed = [await teppan.station() for _ in range(4)]
    await teppan.turn(suspended, "Suspend")
    await teppan.turn(deleted, "Delete")
    await teppan.turn(resumed, "Suspend", "Resume")
    answers = await checked(teppan, STATION, *(("", id) for id in (suspended, new(), active, deleted, resumed)))
    closed, absent, in_use = REFERENT_STATE_CLOSED, REFERENT_STATE_NOT_FOUND, REFERENT_STATE_OPEN
    assert [(each.state, each.version) for each in answers] == [(closed, 2), (absent, 0), (in_use, 1), (closed, 2), (in_use, 3)]
    facts = stations_pb2.Station()
    assert answers[2].facts.Unpack(facts)
    assert facts.station_id == active
    assert not answers[1].HasField("facts")


async def test_a_station_belongs_to_itself_and_a_user_to_no_station(teppan: Teppan) -> None:
    station, foreign, user = await teppan.station(), await teppan.station(), str((await created(teppan)).user_id)
    answers = await checked(teppan, STATION, (station, station), (foreign, station))
    assert [each.state for each in answers] == [REFERENT_STATE_OPEN, REFERENT_STATE_NOT_FOUND]
    answers = await checked(teppan, USER, ("", user), (station, user), ("", new()))
    assert [each.state for each in answers] == [REFERENT_STATE_OPEN, REFERENT_STATE_NOT_FOUND, REFERENT_STATE_NOT_FOUND]
    facts = users_pb2.User()
    assert answers[0].facts.Unpack(facts)
    assert not facts.email


async def test_of_a_type_that_an_owner_does_not_know_nothing_is_said(teppan: Teppan) -> None:
    item = references_pb2.ReferenceItem(id=await teppan.station())
    for owner, type in (("identity", "bookings.Booking"), ("identity", "identity.Ghost"), ("bookings", STATION)):
        request = references_pb2.CheckReferencesRequest(type=type, items=[item])
        answer = await refused(teppan.references(owner).CheckReferences(request, metadata=teppan.service("payments")))
        assert (answer.code, set(answer.fields)) == ("INVALID_ARGUMENT", {"type"})


async def test_only_services_check_and_listen(teppan: Teppan) -> None:
    check = references_pb2.CheckReferencesRequest(type=STATION, items=[references_pb2.ReferenceItem(id=new())])
    listen = events_pb2.StreamEventsRequest(after_time=Timestamp(seconds=1))
    for who in (teppan.admin, teppan.member(new())):
        for call in (
            teppan.references("identity").CheckReferences(check, metadata=who),
            teppan.events("identity").StreamEvents(listen, metadata=who),
        ):
            assert (await refused(call)).reason == "PERMISSION_DENIED"


async def test_a_malformed_check_is_refused_with_every_bad_field(teppan: Teppan) -> None:
    bad = references_pb2.CheckReferencesRequest(type="x", items=[references_pb2.ReferenceItem(station_id="y", id="z")])
    refusal = await refused(teppan.references("identity").CheckReferences(bad, metadata=teppan.service("bookings")))
    assert set(refusal.fields) == {"type", "items[0].station_id", "items[0].id"}
