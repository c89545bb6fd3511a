"""What a booking costs, what may become of it, and which weeks there are."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from teppan.bookings.v1 import bookings_pb2 as pb

from bookings.domain.bookings import (
    TRANSITIONS,
    UNPAYABLE,
    Booking,
    BookingState,
    CancelledBy,
    LeadTime,
    NewBooking,
    State,
    TooFarAhead,
    book,
    cancel,
)  # fmt: skip
from bookings.domain.customers import normalise_email
from bookings.domain.policy import DEFAULT_POLICY as POLICY
from bookings.domain.price import Guests, price
from bookings.domain.slots import (
    DEFAULT_WEEK,
    ScheduledSlot,
    Slot,
    SlotKey,
    SlotsOverlap,
    Station,
    check_week,
)  # fmt: skip
from faults import EtagStale

STATION, BOOKING, CUSTOMER, USER = (UUID(int=number) for number in range(1, 5))
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
WEEK_MINUTES = 7 * 1440
COUNTS = st.integers(min_value=0, max_value=50)


def slot_in(ahead: timedelta) -> Slot:
    start = NOW + ahead
    key = SlotKey(date=start.date(), start=start.time())
    return Slot(key=key, start_time=start, end_time=start + timedelta(hours=3), capacity=2)


def booking(ahead: timedelta = timedelta(days=10), *, override_lead_time: bool = False) -> Booking:
    slot = slot_in(ahead)
    wanted = NewBooking(
        station_id=STATION, customer_id=CUSTOMER, slot=slot.key, guests=Guests(adults=10, children=0, infants=0), requests="",
        override_lead_time=override_lead_time, validate_only=False,
    )  # fmt: skip
    station = Station(station_id=STATION, time_zone="Europe/Berlin", currency_code="EUR")
    return book(
        wanted, slot, station, POLICY, booking_id=BOOKING, reference="TP-22222222", created_by=USER, created_by_name="Ann", now=NOW
    )


def week(*slots: tuple[int, str, int]) -> list[ScheduledSlot]:
    return [
        ScheduledSlot(weekday=weekday, start=time.fromisoformat(start), length_minutes=minutes, capacity=1)
        for weekday, start, minutes in slots
    ]


@pytest.mark.parametrize(
    ("guests", "kinds", "total"),
    [
        (Guests(adults=10, children=0, infants=0), {"adults": 55_000}, 55_000),
        (Guests(adults=9, children=2, infants=1), {"adults": 49_500, "children": 6_000, "infants": 0}, 55_500),
        (Guests(adults=9, children=0, infants=0), {"adults": 49_500, "minimum": 5_500}, 55_000),
        (Guests(adults=0, children=0, infants=1), {"infants": 0, "minimum": 55_000}, 55_000),
        (Guests(adults=50, children=0, infants=0), {"adults": 275_000}, 275_000),
    ],
)
def test_a_price_is_its_lines(guests: Guests, kinds: dict[str, int], total: int) -> None:
    priced = price(guests, POLICY)
    assert {line.kind: line.amount_minor for line in priced.lines} == kinds
    assert (priced.total_minor, priced.deposit_minor) == (total, 10_000)


@given(adults=COUNTS, children=COUNTS, infants=COUNTS)
def test_food_costs_its_minimum_and_more_guests_never_cost_less(adults: int, children: int, infants: int) -> None:
    priced = price(Guests(adults=adults, children=children, infants=infants), POLICY)
    assert priced.total_minor == max(55_000, adults * 5_500 + children * 3_000)
    assert priced.total_minor == sum(line.quantity * line.unit_minor for line in priced.lines)
    assert all(line.quantity > 0 for line in priced.lines)
    assert priced.total_minor <= price(Guests(adults=adults + 1, children=children, infants=infants), POLICY).total_minor


@given(minimum=st.integers(min_value=0, max_value=20_000))
def test_a_deposit_is_never_more_than_the_whole(minimum: int) -> None:
    priced = price(Guests(adults=1, children=0, infants=0), replace(POLICY, food_minimum_minor=minimum))
    assert priced.deposit_minor == min(10_000, priced.total_minor)


@pytest.mark.parametrize(("enum", "values", "skipped"), [(State, pb.BookingState, 2), (CancelledBy, pb.CancelledBy, 2)])
def test_the_domain_numbers_as_the_contract_does(
    enum: type[State | CancelledBy], values: type[pb.BookingState], skipped: int
) -> None:
    theirs = {name.split("_", skipped)[skipped]: number for name, number in values.items() if number}
    assert {member.name: member.value for member in enum} == theirs


def test_every_state_says_what_may_follow_and_what_ended_stays_so() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {state for state in UNPAYABLE if TRANSITIONS[state]} == {State.EXPIRING}
    assert {state for state in State if not TRANSITIONS[state]} == UNPAYABLE - {State.EXPIRING} | {State.COMPLETED}


@pytest.mark.parametrize("state", State)
def test_only_what_has_not_begun_can_be_cancelled(state: State) -> None:
    present = replace(booking(), state=state)
    if state in {State.HELD, State.PENDING, State.CONFIRMED}:
        cancelled = cancel(present, CancelledBy.CUSTOMER, POLICY, etag="", now=NOW)
        assert (cancelled.state, cancelled.version, cancelled.cancel_time) == (State.CANCELLED, 2, NOW)
    else:
        with pytest.raises(BookingState) as refusal:
            cancel(present, CancelledBy.CUSTOMER, POLICY, etag="", now=NOW)
        assert refusal.value.metadata == {"from": state.name, "to": "CANCELLED"}


def test_an_etag_is_compared_before_the_state() -> None:
    present = replace(booking(), state=State.CANCELLED, version=3)
    with pytest.raises(EtagStale) as refusal:
        cancel(present, CancelledBy.CUSTOMER, POLICY, etag="2", now=NOW)
    assert refusal.value.metadata == {"etag": "3"}


MOMENT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("ahead", "share"),
    [
        (timedelta(days=30), 10_000),
        (timedelta(days=7), 10_000),
        (timedelta(days=7) - MOMENT, 5_000),
        (timedelta(days=3), 5_000),
        (timedelta(days=3) - MOMENT, 0),
        (-timedelta(hours=1), 0),
        (-timedelta(hours=3) + MOMENT, 0),
    ],
)
def test_the_share_that_is_refunded_goes_by_time_and_is_all_where_the_station_cancels(ahead: timedelta, share: int) -> None:
    present = booking()
    now = present.start_time - ahead
    assert cancel(present, CancelledBy.CUSTOMER, POLICY, etag="", now=now).refund_basis_points == share
    assert cancel(present, CancelledBy.STATION, POLICY, etag="", now=now).refund_basis_points == 10_000


@pytest.mark.parametrize(
    ("start", "hours"),
    [("2027-03-31T12:00", 167), ("2026-10-28T12:00", 169), ("2027-04-04T02:30", 167.5), ("2027-07-01T12:00", 168)],
)
def test_days_before_a_start_are_those_of_the_calendar(start: str, hours: float) -> None:
    """2027-03-28 in Berlin has 23 hours, and no 02:30: what is a week after that time is a week after the change."""
    at = datetime.fromisoformat(start).replace(tzinfo=BERLIN).astimezone(UTC)
    present = replace(booking(), start_time=at, end_time=at + timedelta(hours=3))
    for now, share in ((at - timedelta(hours=hours), 10_000), (at - timedelta(hours=hours) + MOMENT, 5_000)):
        assert cancel(present, CancelledBy.CUSTOMER, POLICY, etag="", now=now).refund_basis_points == share


@pytest.mark.parametrize("after", [timedelta(), timedelta(days=30)])
def test_what_has_ended_is_not_cancelled_by_anybody(after: timedelta) -> None:
    present = replace(booking(), state=State.CONFIRMED)
    for by in CancelledBy:
        with pytest.raises(BookingState) as refusal:
            cancel(present, by, POLICY, etag="", now=present.end_time + after)
        assert refusal.value.metadata == {"from": "CONFIRMED", "to": "CANCELLED"}


@given(hours=st.integers(min_value=-2, max_value=24 * 400), later=st.integers(min_value=0, max_value=24 * 30))
def test_who_cancels_later_never_gets_more(hours: int, later: int) -> None:
    present = booking()
    shares = [
        cancel(present, CancelledBy.CUSTOMER, POLICY, etag="", now=present.start_time - timedelta(hours=ahead)).refund_basis_points
        for ahead in (hours, max(hours - later, -2))
    ]
    assert shares[0] is not None
    assert shares[1] is not None
    assert shares[0] >= shares[1]


def test_lead_time_and_horizon_are_exact() -> None:
    assert booking(timedelta(hours=48, minutes=30)).state is State.PENDING
    assert booking(timedelta(days=365)).state is State.PENDING
    with pytest.raises(LeadTime) as soon:
        booking(timedelta(hours=48) - MOMENT)
    assert soon.value.metadata == {"lead_hours": "48"}
    with pytest.raises(TooFarAhead) as far:
        booking(timedelta(days=365) + MOMENT)
    assert far.value.metadata == {"days": "365"}
    assert booking(timedelta(hours=1), override_lead_time=True).state is State.PENDING
    with pytest.raises(TooFarAhead):
        booking(timedelta(days=366), override_lead_time=True)


@pytest.mark.parametrize("ahead", [timedelta(hours=48, seconds=8), timedelta(hours=48, minutes=30) - MOMENT])
def test_what_could_not_be_paid_in_time_is_not_sold(ahead: timedelta) -> None:
    with pytest.raises(LeadTime) as refusal:
        booking(ahead)
    assert str(refusal.value) == "less than 30 minutes would be left to pay the deposit"
    made = booking(ahead, override_lead_time=True)
    assert made.deposit_deadline_time == NOW + timedelta(hours=24)


@pytest.mark.parametrize("ahead", [timedelta(), -MOMENT, -timedelta(days=365 * 2024), timedelta(minutes=30) - MOMENT])
def test_the_past_and_what_begins_at_once_are_sold_to_nobody(ahead: timedelta) -> None:
    for override in (False, True):
        with pytest.raises(LeadTime) as refusal:
            booking(ahead, override_lead_time=override)
        assert refusal.value.metadata == {"lead_hours": "48"}


@given(minutes=st.integers(min_value=30, max_value=365 * 1440))
def test_a_deposit_is_waited_for_half_an_hour_to_a_day_and_into_the_lead_time_only_where_that_is_overridden(minutes: int) -> None:
    made = booking(timedelta(minutes=minutes), override_lead_time=True)
    assert timedelta(minutes=30) <= made.deposit_deadline_time - NOW <= timedelta(hours=24)
    assert made.deposit_deadline_time <= made.start_time
    if minutes >= 48 * 60 + 30:
        assert made.deposit_deadline_time <= made.start_time - POLICY.lead_time
        assert booking(timedelta(minutes=minutes)) == made


def test_the_default_week_is_a_week_and_slots_may_touch() -> None:
    check_week(DEFAULT_WEEK)
    check_week(week((7, "23:00", 60), (1, "00:00", 1440), (2, "00:00", 60)))
    check_week(week((1, "12:00", 1440)))
    check_week([])


@pytest.mark.parametrize(
    ("slots", "weekday"),
    [
        (week((1, "12:00", 61), (1, "13:00", 60)), "Monday"),
        (week((2, "13:00", 60), (2, "13:00", 60)), "Tuesday"),
        (week((6, "23:30", 31), (7, "00:00", 60)), "Saturday"),
        (week((7, "23:30", 31), (1, "00:00", 60)), "Sunday"),
        (week((3, "08:00", 1440), (4, "07:59", 15)), "Wednesday"),
    ],
)
def test_slots_that_overlap_are_refused_by_the_day_of_the_first(slots: list[ScheduledSlot], weekday: str) -> None:
    for order in (slots, slots[::-1]):
        with pytest.raises(SlotsOverlap) as refusal:
            check_week(order)
        assert (refusal.value.metadata, list(refusal.value.fields)) == ({"weekday": weekday}, ["slots"])


SCHEDULED = st.builds(
    ScheduledSlot,
    weekday=st.integers(1, 7),
    start=st.builds(time, st.integers(0, 23), st.integers(0, 59)),
    length_minutes=st.integers(15, 1440),
    capacity=st.just(1),
)


@given(slots=st.lists(SCHEDULED, max_size=5))
def test_a_week_is_accepted_where_no_minute_of_it_has_two_slots(slots: list[ScheduledSlot]) -> None:
    minutes = [
        ((slot.weekday - 1) * 1440 + slot.start.hour * 60 + slot.start.minute + n) % WEEK_MINUTES
        for slot in slots
        for n in range(slot.length_minutes)
    ]
    try:
        check_week(slots)
    except SlotsOverlap:
        assert len(set(minutes)) < len(minutes)
    else:
        assert len(set(minutes)) == len(minutes)


@given(text=st.text(max_size=20))
def test_an_email_is_normal_once(text: str) -> None:
    assert normalise_email(normalise_email(text)) == normalise_email(text)
    assert normalise_email(" Bo@Example.COM ") == "bo@example.com"
