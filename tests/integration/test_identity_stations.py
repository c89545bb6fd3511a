"""Stations over a real socket: made once, read by those who may, listed page by page."""

import asyncio
import random
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from teppan.common.v1 import options_pb2
from teppan.identity.v1 import stations_pb2 as pb

from tests.integration.stage import Metadata, Teppan, new, refused

ADMIN, SUPPORT = options_pb2.PLATFORM_ROLE_ADMIN, options_pb2.PLATFORM_ROLE_SUPPORT


def wanted(**changes: Any) -> pb.CreateStationRequest:
    """A good request, with a code that nobody has."""
    code = "".join(random.choices("ABCDEFGHJKLMNPQRSTUVWXYZ", k=12))
    good = {"request_id": new(), "code": code, "name": "Mitte", "time_zone": "Europe/Berlin", "currency_code": "EUR"}
    return pb.CreateStationRequest(**{**good, **changes})


async def made(teppan: Teppan, **changes: Any) -> pb.Station:
    answer: pb.CreateStationResponse = await teppan.stations.CreateStation(wanted(**changes), metadata=teppan.admin)
    return answer.station


async def test_a_station_is_in_use_at_once(teppan: Teppan) -> None:
    request = wanted(display_name="Berlin Mitte")
    station = (await teppan.stations.CreateStation(request, metadata=teppan.admin)).station
    assert (station.code, station.name, station.display_name) == (request.code, "Mitte", "Berlin Mitte")
    assert (station.time_zone, station.currency_code) == ("Europe/Berlin", "EUR")
    assert (station.state, station.etag) == (pb.STATION_STATE_ACTIVE, "1")
    read = await teppan.stations.GetStation(pb.GetStationRequest(station_id=station.station_id), metadata=teppan.admin)
    assert read.station == station


async def test_a_repeated_creation_finds_the_station_as_it_is_now(teppan: Teppan) -> None:
    request, admin = wanted(), teppan.admin
    first = (await teppan.stations.CreateStation(request, metadata=admin)).station
    assert (await teppan.stations.CreateStation(request, metadata=admin)).station == first
    now = await teppan.turn(first.station_id, "Suspend")
    assert (await teppan.stations.CreateStation(request, metadata=admin)).station == now


async def test_of_copies_of_a_creation_sent_at_once_one_has_an_effect(teppan: Teppan) -> None:
    request, admin = wanted(), teppan.admin
    answers = await asyncio.gather(*(teppan.stations.CreateStation(request, metadata=admin) for _ in range(8)))
    assert len({answer.station.station_id for answer in answers}) == 1


async def test_a_request_id_is_for_one_content(teppan: Teppan) -> None:
    request, admin = wanted(), teppan.admin
    await teppan.stations.CreateStation(request, metadata=admin)
    request.name = "Kreuzberg"
    refusal = await refused(teppan.stations.CreateStation(request, metadata=admin))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_a_code_is_taken_once_and_the_refusal_is_remembered(teppan: Teppan) -> None:
    first, admin = await made(teppan), teppan.admin
    again = wanted(code=first.code)
    for _ in range(2):
        refusal = await refused(teppan.stations.CreateStation(again, metadata=admin))
        assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "STATION_CODE_TAKEN")
        assert refusal.metadata["code"] == first.code


async def test_a_malformed_station_is_refused_with_every_bad_field(teppan: Teppan) -> None:
    bad = pb.CreateStationRequest(request_id="x", code="b", display_name="x" * 201, currency_code="eur")
    refusal = await refused(teppan.stations.CreateStation(bad, metadata=teppan.admin))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "FIELDS_INVALID")
    assert set(refusal.fields) == {"request_id", "code", "name", "display_name", "time_zone", "currency_code"}


async def test_a_place_that_there_is_not_is_refused_with_both_fields(teppan: Teppan) -> None:
    bad = wanted(time_zone="Europe/Atlantis", currency_code="EUX")
    refusal = await refused(teppan.stations.CreateStation(bad, metadata=teppan.admin))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "FIELDS_INVALID")
    assert set(refusal.fields) == {"time_zone", "currency_code"}


async def test_the_platform_hears_that_a_station_is_not_there(teppan: Teppan) -> None:
    request = pb.GetStationRequest(station_id=new())
    answer = await refused(teppan.stations.GetStation(request, metadata=teppan.bearer(platform_role=SUPPORT)))
    assert (answer.code, answer.reason) == ("NOT_FOUND", "STATION_NOT_FOUND")


async def test_others_cannot_tell_a_foreign_station_from_none(teppan: Teppan) -> None:
    own, foreign = await made(teppan), await made(teppan)
    member = teppan.member(own.station_id, options_pb2.ROLE_VIEWER)
    assert (await teppan.stations.GetStation(pb.GetStationRequest(station_id=own.station_id), metadata=member)).station == own
    answers = [
        await refused(teppan.stations.GetStation(pb.GetStationRequest(station_id=id), metadata=member))
        for id in (foreign.station_id, new())
    ]
    answers += [
        await refused(teppan.stations.BatchGetStations(pb.BatchGetStationsRequest(station_ids=ids), metadata=member))
        for ids in ([own.station_id, foreign.station_id], [own.station_id, new()])
    ]
    assert {(answer.code, answer.reason, answer.message) for answer in answers} == {
        ("PERMISSION_DENIED", "PERMISSION_DENIED", answers[0].message)
    }


async def test_a_batch_answers_each_for_itself_in_order(teppan: Teppan) -> None:
    first, second, nobody = await made(teppan), await made(teppan), new()
    request = pb.BatchGetStationsRequest(station_ids=[second.station_id, nobody, first.station_id, second.station_id])
    answer = await teppan.stations.BatchGetStations(request, metadata=teppan.admin)
    assert list(answer.stations) == [second, pb.Station(station_id=nobody), first, second]


async def test_a_malformed_batch_is_refused(teppan: Teppan) -> None:
    refusal = await refused(teppan.stations.BatchGetStations(pb.BatchGetStationsRequest(), metadata=teppan.admin))
    assert set(refusal.fields) == {"station_ids"}
    many = pb.BatchGetStationsRequest(station_ids=[new()] * 1_001)
    assert set((await refused(teppan.stations.BatchGetStations(many, metadata=teppan.admin))).fields) == {"station_ids"}


async def listed(teppan: Teppan, who: Metadata, *, page_size: int, show_deleted: bool = False) -> list[list[pb.Station]]:
    """All pages of a list."""
    pages, token = [], ""
    while True:
        request = pb.ListStationsRequest(page_size=page_size, page_token=token, show_deleted=show_deleted)
        answer = await teppan.stations.ListStations(request, metadata=who)
        pages.append(list(answer.stations))
        token = answer.next_page_token
        if not token:
            return pages


async def test_people_list_their_own_stations_by_code(teppan: Teppan) -> None:
    own = sorted([await made(teppan) for _ in range(5)], key=lambda station: station.code)
    foreign = await made(teppan)
    roles = {UUID(station.station_id): options_pb2.ROLE_VIEWER for station in own} | {uuid4(): options_pb2.ROLE_ADMIN}
    pages = await listed(teppan, teppan.bearer(roles=roles), page_size=2)
    assert pages == [own[:2], own[2:4], own[4:]]
    assert foreign not in [station for page in pages for station in page]
    assert await listed(teppan, teppan.bearer(), page_size=0) == [[]]


async def test_the_platform_lists_every_station(teppan: Teppan) -> None:
    station = await made(teppan)
    for role in (ADMIN, SUPPORT):
        codes = [each.code for page in await listed(teppan, teppan.bearer(platform_role=role), page_size=7) for each in page]
        assert station.code in codes
        assert codes == sorted(set(codes))


async def test_deleted_stations_are_read_and_listed_only_where_they_are_asked_for(teppan: Teppan) -> None:
    active, suspended, deleted = sorted([await made(teppan) for _ in range(3)], key=lambda station: station.code)
    suspended = await teppan.turn(suspended.station_id, "Suspend")
    deleted = await teppan.turn(deleted.station_id, "Delete")
    ids = [station.station_id for station in (active, suspended, deleted)]
    for who in (teppan.bearer(roles=dict.fromkeys(map(UUID, ids), options_pb2.ROLE_VIEWER)), teppan.bearer(platform_role=SUPPORT)):
        shown = [station for page in await listed(teppan, who, page_size=1_000) for station in page if station.station_id in ids]
        assert shown == [active, suspended]
        pages = await listed(teppan, who, page_size=2, show_deleted=True)
        assert [station for page in pages for station in page if station.station_id in ids] == [active, suspended, deleted]
        assert (await teppan.stations.GetStation(pb.GetStationRequest(station_id=ids[2]), metadata=who)).station == deleted
        batch = await teppan.stations.BatchGetStations(pb.BatchGetStationsRequest(station_ids=ids), metadata=who)
        assert list(batch.stations) == [active, suspended, deleted]


async def test_a_page_token_of_the_list_without_deleted_stations_is_of_another_list(teppan: Teppan) -> None:
    for _ in range(2):
        await made(teppan)
    first = await teppan.stations.ListStations(pb.ListStationsRequest(page_size=1), metadata=teppan.admin)
    other = pb.ListStationsRequest(page_size=1, page_token=first.next_page_token, show_deleted=True)
    assert (await refused(teppan.stations.ListStations(other, metadata=teppan.admin))).reason == "PAGE_TOKEN_INVALID"


async def test_a_page_token_of_another_list_is_refused(teppan: Teppan) -> None:
    refusal = await refused(teppan.stations.ListStations(pb.ListStationsRequest(page_token="AAAA"), metadata=teppan.admin))  # noqa: S106
    assert (refusal.code, refusal.reason, set(refusal.fields)) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", {"page_token"})
    bad = pb.ListStationsRequest(page_size=-1, page_token="x" * 2_049)
    assert set((await refused(teppan.stations.ListStations(bad, metadata=teppan.admin))).fields) == {"page_size", "page_token"}


CALLS: dict[str, Callable[[Teppan, Metadata], Any]] = {
    "CreateStation": lambda teppan, who: teppan.stations.CreateStation(wanted(), metadata=who),
    "GetStation": lambda teppan, who: teppan.stations.GetStation(pb.GetStationRequest(station_id=new()), metadata=who),
    "BatchGetStations": lambda teppan, who: teppan.stations.BatchGetStations(
        pb.BatchGetStationsRequest(station_ids=[new()]), metadata=who
    ),
}


@pytest.mark.parametrize("call", CALLS)
async def test_who_may_not_is_refused(teppan: Teppan, call: str) -> None:
    for who in (teppan.bearer(), teppan.member(new()), teppan.service("bookings")):
        refusal = await refused(CALLS[call](teppan, who))
        assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
    assert (await refused(CALLS[call](teppan, ()))).reason == "TOKEN_MISSING"


async def test_support_makes_nothing(teppan: Teppan) -> None:
    assert (await refused(CALLS["CreateStation"](teppan, teppan.bearer(platform_role=SUPPORT)))).code == "PERMISSION_DENIED"


async def test_a_list_needs_a_token(teppan: Teppan) -> None:
    assert (await refused(teppan.stations.ListStations(pb.ListStationsRequest()))).reason == "TOKEN_MISSING"
