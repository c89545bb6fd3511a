"""Protobuf <-> domain in identity."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.timestamp_pb2 import Timestamp
from teppan.common.v1 import options_pb2
from teppan.identity.v1 import memberships_pb2, stations_pb2, users_pb2

from faults import InvalidArgument, PageTokenInvalid
from identity.domain.memberships import Member, Role
from identity.domain.stations import State, Station
from identity.domain.users import PlatformRole, User
from identity.domain.users import State as UserState
from identity.wire import stations as stations_wire
from identity.wire import users as users_wire
from pages import PAGE_BYTES_MAX, Page, Tokens

NOW = datetime(2026, 6, 1, 12, 30, 15, 123456, tzinfo=UTC)
ID = UUID("019a0000-0000-7000-8000-000000000001")
OTHER = UUID("019a0000-0000-7000-8000-000000000002")
TOKENS = Tokens(b"k" * 32, lambda: NOW)
USER = User(
    user_id=ID, name="Ann Bee", email="ann@example.com", platform_role=PlatformRole.SUPPORT, state=UserState.ACTIVE, version=7,
    create_time=NOW, update_time=NOW,
)  # fmt: skip


def station(code: str = "BER1", name: str = "Mitte") -> Station:
    return Station(
        station_id=ID, code=code, name=name, display_name=name, time_zone="Europe/Berlin", currency_code="EUR",
        state=State.DELETED, version=2, create_time=NOW, update_time=NOW + timedelta(hours=1),
        delete_time=NOW + timedelta(hours=1),
    )  # fmt: skip


def test_a_station_is_shown_whole() -> None:
    shown = stations_wire.station_to_pb(station())
    assert {field.name for field, _ in shown.ListFields()} == {field.name for field in stations_pb2.Station.DESCRIPTOR.fields}
    assert (shown.state, shown.etag) == (stations_pb2.STATION_STATE_DELETED, "2")
    assert shown.create_time.ToDatetime(tzinfo=UTC) == NOW
    assert shown.delete_time == shown.update_time


def test_a_station_that_is_not_deleted_shows_no_time_of_it() -> None:
    assert not stations_wire.station_to_pb(replace(station(), delete_time=None)).HasField("delete_time")


def test_a_stations_event_carries_the_station() -> None:
    payload, carried = AnyMessage.FromString(stations_wire.event_to_pb(station())), stations_pb2.Station()
    assert payload.Unpack(carried)
    assert carried == stations_wire.station_to_pb(station())


def test_a_user_is_shown_with_the_email() -> None:
    shown = users_wire.user_to_pb(USER)
    assert {field.name for field, _ in shown.ListFields()} == {field.name for field in users_pb2.User.DESCRIPTOR.fields}
    assert (shown.email, shown.platform_role) == ("ann@example.com", options_pb2.PLATFORM_ROLE_SUPPORT)


def test_a_users_event_has_nothing_private() -> None:
    serialised = users_wire.event_to_pb(USER)
    assert b"ann@" not in serialised
    assert b"Ann" not in serialised
    payload, carried = AnyMessage.FromString(serialised), users_pb2.User()
    assert payload.Unpack(carried)
    assert (carried.user_id, carried.etag, carried.state) == (str(ID), "7", users_pb2.USER_STATE_ACTIVE)


def test_a_new_users_email_is_normalised() -> None:
    request = users_pb2.CreateUserRequest(name="Ann", email="Ann@Example.com", password="p" * 12)
    wanted = users_wire.new_user_from_pb(request)
    assert (wanted.email, wanted.platform_role) == ("ann@example.com", PlatformRole.NONE)


def test_the_first_administrator_follows_the_rules_of_the_contract() -> None:
    wanted = users_wire.administrator_of(name="Ann", email="ann@example.com", password="p" * 12)
    assert wanted.platform_role is PlatformRole.ADMIN
    with pytest.raises(InvalidArgument) as refusal:
        users_wire.administrator_of(name="", email="nobody", password="short")  # noqa: S106  # that is the point
    assert set(refusal.value.fields) == {"name", "email", "password"}
    assert "short" not in refusal.value.message


def test_a_membership_goes_both_ways() -> None:
    request = memberships_pb2.AddMemberRequest(station_id=str(ID), user_id=str(OTHER), role=options_pb2.ROLE_AGENT)
    assert users_wire.new_member_from_pb(request).expire_time is None
    request.expire_time.FromDatetime(NOW)
    wanted = users_wire.new_member_from_pb(request)
    assert (wanted.role, wanted.expire_time) == (Role.AGENT, NOW)
    member = Member(station_id=ID, user_id=OTHER, role=Role.AGENT, expire_time=NOW, create_time=NOW, version=1)
    shown = users_wire.member_to_pb(member)
    assert (shown.station_id, shown.user_id, shown.role) == (str(ID), str(OTHER), options_pb2.ROLE_AGENT)
    assert shown.expire_time.ToDatetime(tzinfo=UTC) == NOW


def test_a_time_that_there_is_not_names_its_field() -> None:
    request = memberships_pb2.AddMemberRequest(station_id=str(ID), user_id=str(OTHER), role=options_pb2.ROLE_AGENT)
    request.expire_time.CopyFrom(Timestamp(seconds=10**15))
    with pytest.raises(InvalidArgument) as refusal:
        users_wire.new_member_from_pb(request)
    assert set(refusal.value.fields) == {"expire_time"}


def page_shown(page: Page[Station], *, show_deleted: bool = False) -> stations_pb2.ListStationsResponse:
    return stations_wire.page_to_pb(page, TOKENS, stations_wire.purpose_of(listing("", show_deleted=show_deleted)))


def listing(token: str, *, show_deleted: bool = False) -> stations_pb2.ListStationsRequest:
    return stations_pb2.ListStationsRequest(page_token=token, show_deleted=show_deleted)


@pytest.mark.parametrize("show_deleted", [False, True])
def test_a_page_leads_on_from_its_last_code(*, show_deleted: bool) -> None:
    answer = page_shown(Page(rows=[station("A1"), station("B1")], next=("B1",)), show_deleted=show_deleted)
    assert [each.code for each in answer.stations] == ["A1", "B1"]
    assert stations_wire.code_from_pb(listing(answer.next_page_token, show_deleted=show_deleted), TOKENS) == "B1"
    with pytest.raises(PageTokenInvalid):
        stations_wire.code_from_pb(listing(answer.next_page_token, show_deleted=not show_deleted), TOKENS)


def test_the_last_page_has_no_token() -> None:
    assert not page_shown(Page(rows=[station()], next=None)).next_page_token
    assert stations_wire.code_from_pb(listing(""), TOKENS) is None


def test_a_page_ends_at_a_mebibyte_and_leads_on_from_there() -> None:
    rows = [station(f"S{number:03}", "\N{SUSHI}" * 200) for number in range(1_000)]
    answer = page_shown(Page(rows=rows, next=None))
    assert 1 < len(answer.stations) < 1_000
    assert answer.ByteSize() <= PAGE_BYTES_MAX + 200
    assert stations_wire.code_from_pb(listing(answer.next_page_token), TOKENS) == answer.stations[-1].code


@pytest.mark.parametrize(
    "token", ["x", "AAAA", TOKENS.sign("ListBookings", {"after": "A1"}), Tokens(b"x" * 32, lambda: NOW).sign("ListStations", {})]
)
def test_a_token_of_anything_else_is_refused(token: str) -> None:
    with pytest.raises(PageTokenInvalid) as refusal:
        stations_wire.code_from_pb(listing(token), TOKENS)
    assert set(refusal.value.fields) == {"page_token"}
