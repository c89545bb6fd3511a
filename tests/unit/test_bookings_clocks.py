"""Slots around changes of the clocks: what does not overlap by the clock on the wall does not overlap as instants."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from bookings.domain.slots import SlotKey, instants

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


def test_no_slots_that_touch_by_the_clock_overlap_as_instants_around_any_change_of_the_clocks() -> None:
    counted = set()
    for name in sorted(available_timezones()):
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
    assert len(counted) > 30


def slot_at(at: datetime, minutes: int, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
    """The instants of the slot of a local time."""
    return instants(SlotKey(date=at.date(), start=at.time()), minutes, zone)
