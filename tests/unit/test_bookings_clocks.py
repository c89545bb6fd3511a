"""Slots around changes of the clocks: what does not overlap by the clock on the wall does not overlap as instants."""

from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bookings.domain.slots import ScheduledSlot, SlotKey, SlotNotOffered, Station, instants, slot_offered, slots_of_day

FIRST, LAST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
BERLIN, CAIRO, SYDNEY = ZoneInfo("Europe/Berlin"), ZoneInfo("Africa/Cairo"), ZoneInfo("Australia/Lord_Howe")


def between(key: str, minutes: int, zone: ZoneInfo) -> tuple[str, str] | None:
    """The instants of a slot, as texts."""
    day, start = key.split()
    found = instants(SlotKey(date=date.fromisoformat(day), start=time.fromisoformat(start)), minutes, zone)
    return (f"{found[0]:%dT%H:%M}", f"{found[1]:%dT%H:%M}") if found else None


@pytest.mark.parametrize(
    ("zone", "key", "minutes", "expected"),
    [
        (BERLIN, "2027-03-28 00:00", 180, ("27T23:00", "28T01:00")),
        (BERLIN, "2027-03-28 03:00", 180, ("28T01:00", "28T04:00")),
        (BERLIN, "2027-03-28 01:00", 90, ("28T00:00", "28T01:00")),  # ends when the clocks are moved past 02:30
        (BERLIN, "2027-03-28 02:30", 60, None),
        (BERLIN, "2027-03-28 00:00", 1440, ("27T23:00", "28T22:00")),
        (BERLIN, "2026-10-25 00:00", 1440, ("24T22:00", "25T23:00")),
        (BERLIN, "2026-10-25 01:00", 90, ("24T23:00", "25T00:30")),  # the first 02:30 of two
        (BERLIN, "2026-10-25 02:30", 30, ("25T00:30", "25T02:00")),
        (CAIRO, "2027-04-29 22:00", 120, ("29T20:00", "29T22:00")),  # 24:00 is moved to 01:00
        (CAIRO, "2027-04-30 01:00", 60, ("29T22:00", "29T23:00")),
        (SYDNEY, "2026-10-04 01:00", 75, ("03T14:30", "03T15:30")),  # half an hour is left out
    ],
)
def test_a_slot_ends_at_its_local_end(zone: ZoneInfo, key: str, minutes: int, expected: tuple[str, str] | None) -> None:
    assert between(key, minutes, zone) == expected


def changes(zone: ZoneInfo) -> list[datetime]:
    """The hours, as instants, in which the clocks of a zone change in ten years."""
    found = []
    for day in range(0, (LAST - FIRST).days, 7):
        before, after = FIRST + timedelta(days=day), FIRST + timedelta(days=day + 7)
        if before.astimezone(zone).utcoffset() == after.astimezone(zone).utcoffset():
            continue
        hours = [before + timedelta(hours=hour) for hour in range(7 * 24 + 1)]
        offsets = [hour.astimezone(zone).utcoffset() for hour in hours]
        found += [hour for hour, offset, following in zip(hours, offsets, offsets[1:], strict=False) if offset != following]
    return found


SOME = ["Africa/Cairo", "Africa/Casablanca", "America/Havana", "America/New_York", "Australia/Lord_Howe", "Europe/Berlin", "UTC"]


@pytest.mark.parametrize(
    ("names", "different"),
    [(SOME, 7), pytest.param(sorted(available_timezones()), 30, marks=pytest.mark.long)],
    ids=["some", "all"],
)
def test_no_slots_that_touch_by_the_clock_overlap_as_instants_around_any_change_of_the_clocks(
    names: list[str], different: int
) -> None:
    counted = set()
    for name in names:
        zone = ZoneInfo(name)
        moments = changes(zone)
        local = tuple(moment.astimezone(zone) for moment in moments)
        if tuple(moment.isoformat() for moment in local) in counted:
            continue  # another name of a zone that was tried
        counted.add(tuple(moment.isoformat() for moment in local))
        for moment in local:
            for quarter in range(-12, 12):
                at = moment.replace(tzinfo=None, minute=0) + timedelta(minutes=15 * quarter)
                for minutes in (15, 180, 1440):
                    slot = slot_at(at, minutes, zone)
                    following = slot_at(at + timedelta(minutes=minutes), 15, zone)
                    assert slot is None or slot[0] < slot[1], (name, at, minutes)
                    assert slot is None or following is None or slot[1] == following[0], (name, at, minutes)
    assert len(counted) >= different


def slot_at(at: datetime, minutes: int, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
    """The instants of the slot of a local time."""
    return instants(SlotKey(date=at.date(), start=at.time()), minutes, zone)


def test_around_clock_changes_a_gap_has_no_slot_and_the_first_of_two_hours_counts() -> None:
    spring, autumn = date(2027, 3, 28), date(2026, 10, 25)
    for start, expected in (("01:59", "00:59"), ("02:00", None), ("02:59", None), ("03:00", "01:00")):
        found = instants(SlotKey(date=spring, start=time.fromisoformat(start)), 60, BERLIN)
        assert (found and f"{found[0]:%H:%M}") == expected
    first = instants(SlotKey(date=autumn, start=time(2, 30)), 180, BERLIN)
    assert first == (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 4, 30, tzinfo=UTC))
    every_hour = [ScheduledSlot(weekday=7, start=time(hour), length_minutes=60, capacity=1) for hour in range(24)]
    assert [len(slots_of_day(day, every_hour, BERLIN)) for day in (spring, autumn)] == [23, 24]
    station = Station(station_id=UUID(int=1), time_zone="Europe/Berlin", currency_code="EUR")
    with pytest.raises(SlotNotOffered) as refusal:
        slot_offered(SlotKey(date=spring, start=time(2)), every_hour, station)
    assert refusal.value.metadata == {"date": "2027-03-28", "start": "02:00"}


@given(
    day=st.dates(date(1, 1, 1), date(9999, 12, 31)), start=st.times().map(lambda at: at.replace(second=0, microsecond=0)),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Kiritimati", "UTC"]),
)  # fmt: skip
@example(day=date(1, 1, 1), start=time(0), zone="Europe/Berlin")
@example(day=date(9999, 12, 31), start=time(23, 59), zone="America/New_York")
@example(day=date(9999, 12, 31), start=time(23, 59), zone="UTC")
def test_an_instant_is_the_local_time_that_was_meant_or_there_is_none(day: date, start: time, zone: str) -> None:
    key = SlotKey(date=day, start=start)
    if found := instants(key, 90, ZoneInfo(zone)):
        local = found[0].astimezone(ZoneInfo(zone))
        assert (local.date(), local.time()) == (key.date, key.start)
        assert timedelta(0) < found[1] - found[0] <= timedelta(minutes=90 + 60)
