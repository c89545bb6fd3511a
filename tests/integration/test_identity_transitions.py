"""Stations suspended, resumed, deleted and undeleted: each change once for each request, by whom may, and only where it fits."""

import asyncio
from typing import Any

import pytest
from teppan.common.v1 import options_pb2
from teppan.identity.v1 import memberships_pb2
from teppan.identity.v1 import stations_pb2 as pb

from tests.integration.stage import Metadata, Teppan, new, refused

ACTIVE, SUSPENDED, DELETED = pb.STATION_STATE_ACTIVE, pb.STATION_STATE_SUSPENDED, pb.STATION_STATE_DELETED
AFTER = {"Suspend": SUSPENDED, "Resume": ACTIVE, "Delete": DELETED, "Undelete": SUSPENDED}
"""What each verb leads to."""
FITS = [("Suspend",), ("Suspend", "Resume"), ("Delete",), ("Suspend", "Delete"), ("Delete", "Undelete")]
"""The ways to each verb, which is the last one: every pair of states that is allowed."""
UNFIT = [
    ("Resume",), ("Undelete",), ("Suspend", "Suspend"), ("Suspend", "Undelete"), ("Delete", "Suspend"), ("Delete", "Resume"),
    ("Delete", "Delete"),
]  # fmt: skip
"""Likewise, of every pair that is not."""


def request_of(verb: str, station: str, **changes: Any) -> Any:
    return getattr(pb, f"{verb}StationRequest")(**{"request_id": new(), "station_id": station, **changes})


async def turn(teppan: Teppan, verb: str, request: Any, *, by: Metadata | None = None) -> pb.Station:
    """Sends one of the four requests."""
    answer = await getattr(teppan.stations, f"{verb}Station")(request, metadata=teppan.admin if by is None else by)
    return answer.station  # type: ignore[no-any-return]  # of any of the four responses


async def read(teppan: Teppan, station: str) -> pb.Station:
    answer: pb.GetStationResponse = await teppan.stations.GetStation(
        pb.GetStationRequest(station_id=station), metadata=teppan.admin
    )
    return answer.station


@pytest.fixture
async def station(teppan: Teppan) -> str:
    return await teppan.station()


@pytest.mark.parametrize("way", FITS, ids="-".join)
async def test_a_change_that_fits_is_shown_by_state_times_and_etag(teppan: Teppan, station: str, way: tuple[str, ...]) -> None:
    *before, verb = way
    was = await teppan.turn(station, *before) if before else await read(teppan, station)
    now = await turn(teppan, verb, request_of(verb, station, etag=was.etag))
    assert (now.state, int(now.etag)) == (AFTER[verb], int(was.etag) + 1)
    assert now.update_time != was.update_time
    assert now.HasField("delete_time") == (verb == "Delete")
    if verb == "Delete":
        assert now.delete_time == now.update_time
    assert (now.create_time, now.code, now.name) == (was.create_time, was.code, was.name)
    assert await read(teppan, station) == now


@pytest.mark.parametrize("way", UNFIT, ids="-".join)
async def test_a_change_that_does_not_fit_is_refused_and_stays_refused(teppan: Teppan, station: str, way: tuple[str, ...]) -> None:
    *before, verb = way
    was = await teppan.turn(station, *before) if before else await read(teppan, station)
    request, admin = request_of(verb, station), teppan.admin
    answers = [await refused(turn(teppan, verb, request, by=admin))]
    assert await read(teppan, station) == was
    for other in {ACTIVE: ("Suspend",), SUSPENDED: ("Resume",), DELETED: ("Undelete", "Resume")}[was.state]:
        await teppan.turn(station, other)
    answers.append(await refused(turn(teppan, verb, request, by=admin)))  # also where it would fit by now
    for refusal in answers:
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "STATION_STATE")
        said = (refusal.metadata["state"], refusal.metadata["wanted"])
        assert said == tuple(pb.StationState.Name(each).removeprefix("STATION_STATE_") for each in (was.state, AFTER[verb]))


@pytest.mark.parametrize("way", FITS, ids="-".join)
async def test_a_repeated_change_has_one_effect_and_finds_the_station_as_it_is_now(
    teppan: Teppan, station: str, way: tuple[str, ...]
) -> None:
    *before, verb = way
    if before:
        await teppan.turn(station, *before)
    request, admin = request_of(verb, station), teppan.admin
    first = await turn(teppan, verb, request, by=admin)
    assert await turn(teppan, verb, request, by=admin) == first
    other = {ACTIVE: "Suspend", SUSPENDED: "Resume", DELETED: "Undelete"}[first.state]
    now = await teppan.turn(station, other)
    assert await turn(teppan, verb, request, by=admin) == now
    request.etag = first.etag
    assert (await refused(turn(teppan, verb, request, by=admin))).reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize("verb", AFTER)
async def test_of_copies_of_a_change_sent_at_once_one_has_an_effect(teppan: Teppan, station: str, verb: str) -> None:
    if before := {"Resume": "Suspend", "Undelete": "Delete"}.get(verb):
        await teppan.turn(station, before)
    was = await read(teppan, station)
    request, admin = request_of(verb, station), teppan.admin
    answers = await asyncio.gather(*(turn(teppan, verb, request, by=admin) for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert int(answers[0].etag) == int(was.etag) + 1


@pytest.mark.parametrize("verb", AFTER)
async def test_of_many_who_make_the_same_change_at_once_one_does(teppan: Teppan, station: str, verb: str) -> None:
    if before := {"Resume": "Suspend", "Undelete": "Delete"}.get(verb):
        await teppan.turn(station, before)
    calls = [teppan.turn(station, verb) for _ in range(8)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, pb.Station) for answer in answers) == 1


@pytest.mark.parametrize("verb", AFTER)
async def test_a_stale_etag_changes_nothing_and_is_not_held_against_the_request(teppan: Teppan, station: str, verb: str) -> None:
    was = await teppan.turn(station, *{"Resume": ("Suspend",), "Undelete": ("Delete",)}.get(verb, ("Suspend", "Resume")))
    request, admin = request_of(verb, station, etag="1"), teppan.admin
    for _ in range(2):
        refusal = await refused(turn(teppan, verb, request, by=admin))
        assert (refusal.code, refusal.reason, refusal.metadata["etag"]) == ("ABORTED", "ETAG_STALE", was.etag)
    assert await read(teppan, station) == was
    request.etag = was.etag
    assert (await turn(teppan, verb, request, by=admin)).state == AFTER[verb]


@pytest.mark.parametrize("verb", AFTER)
async def test_a_malformed_change_is_refused_with_every_bad_field(teppan: Teppan, verb: str) -> None:
    bad = getattr(pb, f"{verb}StationRequest")(request_id="x", station_id="y", etag="z" * 101)
    refusal = await refused(turn(teppan, verb, bad))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "FIELDS_INVALID")
    assert set(refusal.fields) == {"request_id", "station_id", "etag"}


@pytest.mark.parametrize("verb", AFTER)
async def test_the_platform_hears_that_a_station_is_not_there(teppan: Teppan, verb: str) -> None:
    refusal = await refused(turn(teppan, verb, request_of(verb, new())))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "STATION_NOT_FOUND")


@pytest.mark.parametrize("verb", AFTER)
async def test_only_administrators_of_the_platform_change_a_stations_state(teppan: Teppan, station: str, verb: str) -> None:
    support = teppan.bearer(platform_role=options_pb2.PLATFORM_ROLE_SUPPORT)
    foreign = await teppan.station()
    for who in (teppan.bearer(), teppan.member(station), support, teppan.service("bookings")):
        answers = [await refused(turn(teppan, verb, request_of(verb, id), by=who)) for id in (station, foreign, new())]
        assert {(each.code, each.reason, each.message) for each in answers} == {
            ("PERMISSION_DENIED", "PERMISSION_DENIED", answers[0].message)
        }
    assert (await refused(turn(teppan, verb, request_of(verb, station), by=()))).reason == "TOKEN_MISSING"
    assert (await read(teppan, station)).etag == "1"


@pytest.mark.parametrize("way", [("Suspend",), ("Delete",), ("Delete", "Undelete")], ids="-".join)
async def test_a_station_out_of_use_takes_no_members_and_a_resumed_one_does(
    teppan: Teppan, station: str, way: tuple[str, ...]
) -> None:
    out = await teppan.turn(station, *way)
    request = memberships_pb2.AddMemberRequest(request_id=new(), station_id=station, user_id=new(), role=options_pb2.ROLE_VIEWER)
    refusal = await refused(teppan.members.AddMember(request, metadata=teppan.admin))
    assert (refusal.code, refusal.reason, refusal.metadata["wanted"]) == ("FAILED_PRECONDITION", "STATION_STATE", "ACTIVE")
    await teppan.turn(station, *(["Undelete"] if out.state == DELETED else []), "Resume")
    request.request_id = new()
    refusal = await refused(teppan.members.AddMember(request, metadata=teppan.admin))
    assert refusal.reason == "USER_NOT_FOUND"  # the station would have taken them


async def test_a_deleted_stations_code_stays_taken(teppan: Teppan, station: str) -> None:
    code = (await teppan.turn(station, "Delete")).code
    again = pb.CreateStationRequest(request_id=new(), code=code, name="Mitte", time_zone="Europe/Berlin", currency_code="EUR")
    refusal = await refused(teppan.stations.CreateStation(again, metadata=teppan.admin))
    assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "STATION_CODE_TAKEN")
