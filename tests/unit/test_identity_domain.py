"""The rules of identity."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from teppan.common.v1 import options_pb2
from teppan.identity.v1 import stations_pb2, users_pb2

from faults import EtagStale, InvalidArgument
from identity.domain import memberships, stations, users
from identity.domain.logins import Account, Attempt, may_try
from identity.domain.memberships import NewMember, Role, admit
from identity.domain.stations import (
    CURRENCIES,
    DELETE,
    RESUME,
    SUSPEND,
    UNDELETE,
    NewStation,
    State,
    Station,
    StationState,
    Transition,
    changed,
    check_place,
    expect_active,
    found,
)
from identity.domain.users import NewUser, PlatformRole, enrol, normalise_email

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ID = UUID("019a0000-0000-7000-8000-000000000001")
LATER = NOW + timedelta(hours=1)
TRANSITIONS = {"suspend": SUSPEND, "resume": RESUME, "delete": DELETE, "undelete": UNDELETE}
ALLOWED = {
    ("suspend", State.ACTIVE): State.SUSPENDED,
    ("resume", State.SUSPENDED): State.ACTIVE,
    ("delete", State.ACTIVE): State.DELETED,
    ("delete", State.SUSPENDED): State.DELETED,
    ("undelete", State.DELETED): State.SUSPENDED,
}
"""All that may become of a station; every other pair is refused."""
WANTED = NewStation(code="BER1", name="Mitte", display_name="", time_zone="Europe/Berlin", currency_code="EUR")


def station(**changes: object) -> Station:
    return replace(found(WANTED, station_id=ID, now=NOW), **changes)  # type: ignore[arg-type]  # fields of a station


def account(**changes: object) -> Account:
    made = Account(
        user_id=ID,
        name="Ann",
        platform_role=PlatformRole.NONE,
        state=users.State.ACTIVE,
        password_hash="x",  # noqa: S106  # nobody's
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields of an account


def test_a_new_station_is_active_and_shows_its_name_where_it_has_no_other() -> None:
    assert station().state is State.ACTIVE
    assert (station().display_name, station().version) == ("Mitte", 1)
    assert found(replace(WANTED, display_name="Berlin"), station_id=ID, now=NOW).display_name == "Berlin"


def test_a_place_that_there_is_not_is_refused_with_every_bad_field() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        check_place(replace(WANTED, time_zone="Europe/Atlantis", currency_code="EUX"))
    assert set(refusal.value.fields) == {"time_zone", "currency_code"}


@pytest.mark.parametrize("zone", ["europe/berlin", "UTC+1", "localtime", "Factory", "../etc/passwd", " Europe/Berlin"])
def test_what_is_not_the_name_of_a_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        check_place(replace(WANTED, time_zone=zone))
    assert set(refusal.value.fields) == {"time_zone"}


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Argentina/Buenos_Aires", "UTC", "Asia/Kolkata"])
def test_real_places_are_accepted(zone: str) -> None:
    check_place(replace(WANTED, time_zone=zone, currency_code="JPY"))


def test_currencies_are_codes_of_three_letters_and_money_only() -> None:
    assert all(len(code) == 3 and code.isalpha() and code.isupper() for code in CURRENCIES)
    assert not CURRENCIES & {"XXX", "XTS", "XAU", "DEM", "HRK"}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", TRANSITIONS)
def test_a_station_changes_as_the_table_says_and_not_otherwise(name: str, state: State) -> None:
    before = station(state=state, version=3, delete_time=NOW if state >= State.DELETED else None)
    if (after := ALLOWED.get((name, state))) is None:
        with pytest.raises(StationState) as refusal:
            changed(before, TRANSITIONS[name], etag="3", now=LATER)
        assert refusal.value.metadata == {"state": state.name, "wanted": TRANSITIONS[name].after.name}
    else:
        deleted = LATER if after is State.DELETED else None
        assert changed(before, TRANSITIONS[name], etag="3", now=LATER) == replace(
            before, state=after, version=4, update_time=LATER, delete_time=deleted
        )


@pytest.mark.parametrize("transition", TRANSITIONS.values())
def test_a_station_that_changed_since_it_was_read_is_left_as_it_is(transition: Transition) -> None:
    with pytest.raises(EtagStale):
        changed(station(state=min(transition.before), version=3), transition, etag="2", now=NOW)


@pytest.mark.parametrize("state", State)
def test_only_an_active_station_takes_members(state: State) -> None:
    if state is State.ACTIVE:
        expect_active(station())
        return
    with pytest.raises(StationState) as refusal:
        expect_active(station(state=state))
    assert refusal.value.metadata == {"state": state.name, "wanted": "ACTIVE"}


def test_a_membership_that_has_expired_is_refused() -> None:
    wanted = NewMember(station_id=ID, user_id=ID, role=Role.AGENT, expire_time=NOW)
    with pytest.raises(InvalidArgument) as refusal:
        admit(wanted, now=NOW)
    assert set(refusal.value.fields) == {"expire_time"}
    assert admit(wanted, now=NOW - timedelta(seconds=1)).expire_time == NOW
    assert admit(replace(wanted, expire_time=None), now=NOW).expire_time is None


@pytest.mark.parametrize(
    ("attempt", "may"),
    [
        (Attempt(account=account(), locked=False, failures=100), True),
        (Attempt(account=account(), locked=True, failures=5), False),
        (Attempt(account=account(state=users.State.DISABLED), locked=False, failures=0), False),
        (Attempt(account=account(state=users.State.PURGED), locked=False, failures=0), False),
        (Attempt(account=None, locked=False, failures=0), False),
    ],
)
def test_only_an_active_account_may_be_tried_and_not_from_where_it_is_locked(attempt: Attempt, *, may: bool) -> None:
    assert may_try(attempt) is may


@pytest.mark.parametrize("wanted", users.BEFORE)
@pytest.mark.parametrize("state", users.State)
def test_only_who_is_active_is_disabled_and_only_who_is_disabled_is_enabled(state: users.State, wanted: users.State) -> None:
    new = NewUser(name="Ann", email="a@example.com", password="correct horse", platform_role=PlatformRole.NONE)  # noqa: S106
    user = replace(enrol(new, user_id=ID, now=NOW), state=state, version=3)
    with pytest.raises(EtagStale):
        users.changed(user, wanted, etag="2", now=LATER)
    if {state, wanted} == {users.State.ACTIVE, users.State.DISABLED}:
        assert users.changed(user, wanted, etag="3", now=LATER) == replace(user, state=wanted, version=4, update_time=LATER)
        return
    with pytest.raises(users.UserState) as refusal:
        users.changed(user, wanted, etag="", now=LATER)
    assert refusal.value.metadata == {"state": state.name, "wanted": wanted.name}


def test_emails_are_compared_in_lower_case() -> None:
    assert normalise_email(" Ann@Example.COM ") == "ann@example.com"


def test_what_is_private_or_secret_is_not_shown_by_repr() -> None:
    wanted = NewUser(name="Ann", email="ann@example.com", password="correct horse", platform_role=PlatformRole.NONE)  # noqa: S106
    for shown in (repr(wanted), repr(enrol(wanted, user_id=ID, now=NOW)), repr(account(password_hash="$argon2id$"))):  # noqa: S106
        assert "example.com" not in shown
        assert "horse" not in shown
        assert "argon2" not in shown


def test_numbers_are_those_of_the_contract() -> None:
    def named(enum: object, prefix: str) -> dict[str, int]:
        items = enum.items()  # type: ignore[attr-defined]  # of a generated enum
        return {name.removeprefix(prefix): number for name, number in items if number or prefix == "PLATFORM_ROLE_"}

    assert {each.name: each.value for each in stations.State} == named(stations_pb2.StationState, "STATION_STATE_")
    assert {each.name: each.value for each in users.State} == named(users_pb2.UserState, "USER_STATE_")
    assert {each.name: each.value for each in memberships.Role} == named(options_pb2.Role, "ROLE_")
    roles = {each.name if each else "UNSPECIFIED": each.value for each in PlatformRole}
    assert roles == named(options_pb2.PlatformRole, "PLATFORM_ROLE_")
