"""What a request is recognised by: the same text as ever, or what was stored before an upgrade would be another request."""

import dataclasses
import json
from datetime import UTC, date, datetime, time
from enum import IntEnum
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from bookings.domain.bookings import NewBooking
from bookings.domain.price import Guests
from bookings.domain.slots import ScheduledSlot, SlotKey
from bookings.usecases.slots import NewSchedule
from dbcommon.requests import canonical

BOOKING = NewBooking(
    station_id=UUID(int=1), customer_id=UUID(int=2), slot=SlotKey(date=date(2027, 3, 1), start=time(12)),
    guests=Guests(adults=2, children=1, infants=0), requests="by the window, “bitte”", override_lead_time=False, validate_only=False,
)  # fmt: skip
WRITTEN = (
    '{"customer_id":"00000000-0000-0000-0000-000000000002","guests":{"adults":2,"children":1,"infants":0},'
    '"override_lead_time":false,"requests":"by the window, \\u201cbitte\\u201d","slot":{"date":"2027-03-01","start":"12:00:00"},'
    '"station_id":"00000000-0000-0000-0000-000000000001","validate_only":false}'
)


class Colour(IntEnum):
    RED = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Odd:
    """One of everything that contents hold."""

    text: str | None
    number: int | float
    time: datetime
    parts: tuple[object, ...]
    colour: Colour = Colour.RED


def test_the_text_is_as_it_was_first_written() -> None:
    assert canonical(BOOKING) == WRITTEN


odd = st.builds(
    Odd, text=st.none() | st.text(), number=st.integers() | st.floats(allow_nan=False), time=st.datetimes(timezones=st.just(UTC)),
    parts=st.lists(st.uuids() | st.dates() | st.binary() | st.just(BOOKING)).map(tuple),
)  # fmt: skip
weeks = st.builds(
    NewSchedule, station_id=st.uuids(), etag=st.text(),
    slots=st.lists(st.builds(ScheduledSlot, weekday=st.integers(1, 7), start=st.times(), length_minutes=st.integers(1, 999), capacity=st.integers(0, 99)), max_size=3),
)  # fmt: skip


@given(odd | weeks)
def test_it_is_that_of_a_deep_copy(content: object) -> None:
    copied = dataclasses.asdict(content)  # type: ignore[call-overload]  # both are dataclasses
    assert canonical(content) == json.dumps(copied, sort_keys=True, default=str, separators=(",", ":"))
