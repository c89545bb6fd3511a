"""Stations over a real socket: made once, read by those who may, listed page by page, suspended for good."""

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


async def suspended(teppan: Teppan, station_id: str, *, by: Metadata, **changes: Any) -> pb.Station:
    request = pb.SuspendStationRequest(**{"request_id": new(), "station_id": station_id, **changes})
    answer: pb.SuspendStationResponse = await teppan.stations.SuspendStation(request, metadata=by)
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
    now = await suspended(teppan, first.station_id, by=admin)
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


async def test_a_suspended_station_is_announced_by_its_state_and_etag(teppan: Teppan) -> None:
    station, admin = await made(teppan), teppan.admin
    request = pb.SuspendStationRequest(request_id=new(), station_id=station.station_id, etag=station.etag)
    first = (await teppan.stations.SuspendStation(request, metadata=admin)).station
    assert (first.state, first.etag) == (pb.STATION_STATE_SUSPENDED, "2")
    assert (await teppan.stations.SuspendStation(request, metadata=admin)).station == first
    assert (await teppan.stations.GetStation(pb.GetStationRequest(station_id=station.station_id), metadata=admin)).station == first


async def test_a_station_is_suspended_once(teppan: Teppan) -> None:
    station, admin = await made(teppan), teppan.admin
    await suspended(teppan, station.station_id, by=admin)
    refusal = await refused(suspended(teppan, station.station_id, by=admin))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "STATION_STATE")
    assert (refusal.metadata["state"], refusal.metadata["wanted"]) == ("SUSPENDED", "SUSPENDED")


async def test_of_many_who_suspend_at_once_one_does(teppan: Teppan) -> None:
    station = await made(teppan)
    calls = [suspended(teppan, station.station_id, by=teppan.admin) for _ in range(8)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, pb.Station) for answer in answers) == 1


async def test_a_stale_etag_suspends_nothing(teppan: Teppan) -> None:
    station, admin = await made(teppan), teppan.admin
    refusal = await refused(suspended(teppan, station.station_id, by=admin, etag="7"))
    assert (refusal.code, refusal.reason, refusal.metadata["etag"]) == ("ABORTED", "ETAG_STALE", "1")
    read = await teppan.stations.GetStation(pb.GetStationRequest(station_id=station.station_id), metadata=admin)
    assert read.station == station


async def test_a_malformed_suspension_is_refused_with_every_bad_field(teppan: Teppan) -> None:
    bad = pb.SuspendStationRequest(request_id="x", station_id="y", etag="z" * 101)
    refusal = await refused(teppan.stations.SuspendStation(bad, metadata=teppan.admin))
    assert set(refusal.fields) == {"request_id", "station_id", "etag"}


async def test_the_platform_hears_that_a_station_is_not_there(teppan: Teppan) -> None:
    request = pb.GetStationRequest(station_id=new())
    for answer in (
        await refused(teppan.stations.GetStation(request, metadata=teppan.bearer(platform_role=SUPPORT))),
        await refused(suspended(teppan, new(), by=teppan.admin)),
    ):
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


async def listed(teppan: Teppan, who: Metadata, *, page_size: int) -> list[list[pb.Station]]:
    """All pages of a list."""
    pages, token = [], ""
    while True:
        answer = await teppan.stations.ListStations(pb.ListStationsRequest(page_size=page_size, page_token=token), metadata=who)
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
    "SuspendStation": lambda teppan, who: suspended(teppan, new(), by=who),
}


@pytest.mark.parametrize("call", CALLS)
async def test_who_may_not_is_refused(teppan: Teppan, call: str) -> None:
    for who in (teppan.bearer(), teppan.member(new()), teppan.service("bookings")):
        refusal = await refused(CALLS[call](teppan, who))
        assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
    assert (await refused(CALLS[call](teppan, ()))).reason == "TOKEN_MISSING"


@pytest.mark.parametrize("call", ["CreateStation", "SuspendStation"])
async def test_support_changes_nothing(teppan: Teppan, call: str) -> None:
    assert (await refused(CALLS[call](teppan, teppan.bearer(platform_role=SUPPORT)))).code == "PERMISSION_DENIED"


async def test_a_list_needs_a_token(teppan: Teppan) -> None:
    assert (await refused(teppan.stations.ListStations(pb.ListStationsRequest()))).reason == "TOKEN_MISSING"
