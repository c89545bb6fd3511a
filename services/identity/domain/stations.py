"""Stations: the places that take bookings, and what may become of them."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from uuid import UUID
from zoneinfo import available_timezones

from faults import AlreadyExists, EtagStale, FailedPrecondition, InvalidArgument, NotFound

ZONES = frozenset(available_timezones()) - {"Factory", "localtime"}
"""Without the two that name no place."""

_CODES = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP
CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD
JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN
NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN
SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
CURRENCIES = frozenset(_CODES.split())
"""The currencies in use of ISO 4217's list one, as of January 2026: without funds, metals and test codes."""


class State(IntEnum):
    """As teppan.identity.v1.StationState numbers them."""

    ACTIVE = 1
    SUSPENDED = 2
    DELETED = 3
    PURGING = 4
    PURGED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A change of state: who is in one of `before` may come to be in `after`."""

    before: frozenset[State]
    after: State


SUSPEND = Transition(before=frozenset({State.ACTIVE}), after=State.SUSPENDED)
RESUME = Transition(before=frozenset({State.SUSPENDED}), after=State.ACTIVE)
DELETE = Transition(before=frozenset({State.ACTIVE, State.SUSPENDED}), after=State.DELETED)
UNDELETE = Transition(before=frozenset({State.DELETED}), after=State.SUSPENDED)
"""These are the only places that know what may follow what. Nobody is taken into use by having been deleted by mistake."""

PURGEABLE = frozenset({State.DELETED, State.PURGING})
BEYOND = frozenset({State.PURGING, State.PURGED})
"""From here nothing comes back."""

LISTED = frozenset({State.ACTIVE, State.SUSPENDED})
"""Those that a list has unless it is asked for the deleted ones too."""


class StationNotFound(NotFound):
    """No such station."""

    reason = "STATION_NOT_FOUND"


class StationCodeTaken(AlreadyExists):
    """Another station has that code."""

    reason = "STATION_CODE_TAKEN"


class StationState(FailedPrecondition):
    """The station's state does not allow it."""

    reason = "STATION_STATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStation:
    """What is asked for; an empty display name is the name."""

    code: str
    name: str
    display_name: str
    time_zone: str
    currency_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A station; its zone is an IANA name, its currency an ISO 4217 code."""

    station_id: UUID
    code: str
    name: str
    display_name: str
    time_zone: str
    currency_code: str
    state: State
    version: int
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None
    """None unless it is deleted."""


def check_place(wanted: NewStation) -> None:
    """Refuses a zone or a currency that there is not, both at once."""
    problems = {}
    if wanted.time_zone not in ZONES:
        problems["time_zone"] = "it must be the IANA name of a time zone, such as Europe/Berlin"
    if wanted.currency_code not in CURRENCIES:
        problems["currency_code"] = "it must be the ISO 4217 code of a currency in use, such as EUR"
    if problems:
        raise InvalidArgument(problems)


def found(wanted: NewStation, *, station_id: UUID, now: datetime) -> Station:
    """A station, in use at once."""
    return Station(
        station_id=station_id,
        code=wanted.code,
        name=wanted.name,
        display_name=wanted.display_name or wanted.name,
        time_zone=wanted.time_zone,
        currency_code=wanted.currency_code,
        state=State.ACTIVE,
        version=1,
        create_time=now,
        update_time=now,
        delete_time=None,
    )


def changed(station: Station, transition: Transition, *, etag: str, now: datetime) -> Station:
    """The station after a transition. Raises StationState, EtagStale; an empty etag matches any version."""
    if etag and etag != str(station.version):
        raise EtagStale("the station changed since its etag was read", etag=str(station.version))
    if station.state not in transition.before:
        raise _unfit(station, transition.after)
    deleted = now if transition.after is State.DELETED else None
    return replace(station, state=transition.after, version=station.version + 1, update_time=now, delete_time=deleted)


def expect_purgeable(station: Station, *, etag: str) -> None:
    """Raises StationState, EtagStale; an empty etag matches any version."""
    if etag and etag != str(station.version):
        raise EtagStale("the station changed since its etag was read", etag=str(station.version))
    if station.state not in PURGEABLE:
        raise _unfit(station, State.PURGED)


def expect_beyond(station: Station) -> None:
    """Raises StationState where a purge that began has not come past the point of no return."""
    if station.state not in BEYOND:
        raise _unfit(station, State.PURGED)


def advanced(station: Station, state: State, *, now: datetime) -> Station:
    """The station as a purge announces it: DELETED, or PURGING."""
    return replace(station, state=state, version=station.version + 1, update_time=now)


def purged(station: Station, *, now: datetime) -> Station:
    """The station at the end of its purge. Its version stays: nobody has to hear of it."""
    return replace(station, state=State.PURGED, update_time=now)


def expect_active(station: Station) -> None:
    """Raises StationState where nothing new may begin at the station."""
    if station.state is not State.ACTIVE:
        raise _unfit(station, State.ACTIVE)


def _unfit(station: Station, wanted: State) -> StationState:
    message = f"the station is {station.state.name}, which does not allow it"
    return StationState(message, state=station.state.name, wanted=wanted.name)
