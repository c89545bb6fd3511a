"""Instants as messages hold them: nanoseconds on the wire, microseconds in Postgres."""

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from faults import InvalidArgument
from rpccommon.values import bound_from_pb, set_instant

FIRST, LAST = -62_135_596_800, 253_402_300_799


@given(
    instant=st.datetimes(timezones=st.just(UTC)),
    seconds=st.integers(FIRST, LAST),
    nanos=st.integers(0, 999_999_999),
    close=st.integers(-2_000, 2_000),
)
def test_a_bound_parts_instants_as_its_nanoseconds_do(instant: datetime, seconds: int, nanos: int, close: int) -> None:
    """Whatever is compared: what is before the bound is what is before it on the wire, whichever side is asked for."""
    exact = Timestamp()
    set_instant(exact, instant)
    total = exact.seconds * 1_000_000_000 + exact.nanos
    for bound in (seconds * 1_000_000_000 + nanos, total + close):
        if not FIRST <= bound // 1_000_000_000 <= LAST or bound > LAST * 1_000_000_000 + 999_999_000:
            continue
        read = bound_from_pb(Timestamp(seconds=bound // 1_000_000_000, nanos=bound % 1_000_000_000), "bound")
        assert (instant < read) == (total < bound)


def test_a_bound_after_the_last_instant_is_the_last_instant() -> None:
    assert bound_from_pb(Timestamp(seconds=LAST, nanos=999_999_999), "bound") == datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize("wrong", [Timestamp(seconds=LAST + 1), Timestamp(seconds=FIRST - 1), Timestamp(nanos=-1)])
def test_a_bound_that_is_no_time_is_refused_by_its_name(wrong: Timestamp) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        bound_from_pb(wrong, "start_time_from")
    assert list(refusal.value.fields) == ["start_time_from"]
