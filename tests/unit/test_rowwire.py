"""Rows become the bytes that protobuf itself would write, in C and in Python."""

import math
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowwire import Column, Encoder, Framing, Plan, RowInvalid, Stop, Type
from tests.rows import COPY_TRAILER, packed, row, rows
from tests.rowwire_stage import EVERY, ROWS_FIELDS, Page, encoded, page_of, tables

Make = Callable[[Plan], Encoder]
any_table = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # tables are large, and machines differ
ONE = [Column(name="number", type=Type.INT8, field="plain_int64")]


@any_table
@given(table=tables(), field=st.sampled_from(ROWS_FIELDS), framing=st.sampled_from(Framing))
def test_any_rows_become_the_bytes_of_protobuf_itself(make_encoder: Make, table: Any, field: int, framing: Framing) -> None:
    columns, values = table
    data = rows(framing, columns, values)
    made = make_encoder(Plan.of(EVERY, columns, field=field)).encode(data, framing)
    page = page_of(field, columns, values)
    assert made.body == page.SerializeToString(deterministic=True)
    assert (made.rows, made.consumed, made.stop) == (len(values), len(data), Stop.DATA)
    if not any(isinstance(value, float) and math.isnan(value) for each in values for value in each):
        assert Page.FromString(made.body) == page


@any_table
@given(table=tables(), framing=st.sampled_from(Framing), limits=st.tuples(*[st.integers(0, 3)] * 2, st.integers(0, 400)))
def test_pages_one_after_another_are_all_rows(
    make_encoder: Make, table: Any, framing: Framing, limits: tuple[int, int, int]
) -> None:
    columns, values = table
    data = rows(framing, columns, values)
    rows_min, rows_max, bytes_max = limits
    encoder = make_encoder(Plan.of(EVERY, columns))
    bodies, at, seen = [], 0, 0
    while at < len(data):
        page = encoder.encode(data, framing, start=at, rows_min=rows_min, rows_max=rows_max, bytes_max=bytes_max)
        assert page.rows <= rows_max
        assert len(page.body) <= bytes_max or page.rows <= rows_min
        if page.stop is Stop.BYTES:
            more = encoder.encode(data, framing, start=at, rows_max=page.rows + 1)
            assert len(more.body) > bytes_max
        if not page.rows:
            assert page.last is None
            page = encoder.encode(data, framing, start=at, rows_max=1)
        assert page.last is not None
        seen += page.rows
        assert row(framing, columns, values[seen - 1]) == data[page.last : page.consumed]
        bodies.append(page.body)
        at = page.consumed
    assert b"".join(bodies) == encoder.encode(data, framing).body


@any_table
@given(table=tables(), framing=st.sampled_from(Framing))
def test_values_of_a_row_are_those_that_were_sent(table: Any, framing: Framing) -> None:
    columns, values = table
    plan = Plan.of(EVERY, columns)
    names = [column.name for column in reversed(columns)]
    at = 0
    for each in values:
        found = plan.values(rows(framing, columns, values), at, framing, names)
        assert [repr(value) for value in reversed(found)] == [repr(value) for value in each]
        at += len(row(framing, columns, each))


def test_values_asks_for_columns_that_there_are() -> None:
    with pytest.raises(KeyError, match="nothing"):
        Plan.of(EVERY, ONE).values(row(Framing.COPY, ONE, [1]), 0, Framing.COPY, ["nothing"])


def test_a_default_is_written_only_where_the_field_has_presence(make_encoder: Make) -> None:
    columns = [
        Column(name="plain", type=Type.INT4, field="plain_int32"), Column(name="optional", type=Type.INT4, field="optional_int32"),
        Column(name="choice", type=Type.TEXT, field="choice_text"), Column(name="text", type=Type.TEXT, field="plain_string"),
    ]  # fmt: skip
    message = encoded(make_encoder, columns, [0, 0, "", ""])
    assert {field.name for field, _ in message.ListFields()} == {"optional_int32", "choice_text"}


def test_a_negative_zero_is_no_default(make_encoder: Make) -> None:
    columns = [Column(name="a", type=Type.FLOAT8, field="plain_double"), Column(name="b", type=Type.FLOAT4, field="plain_float")]
    message = encoded(make_encoder, columns, [-0.0, -0.0])
    assert {field.name for field, _ in message.ListFields()} == {"plain_double", "plain_float"}


def test_a_page_may_have_as_many_bytes_as_were_asked_for_and_not_one_more(make_encoder: Make) -> None:
    encoder = make_encoder(Plan.of(EVERY, ONE))
    data = rows(Framing.COPY, ONE, [[1], [300]])
    size = len(encoder.encode(data, Framing.COPY).body)
    assert encoder.encode(data, Framing.COPY, bytes_max=size).rows == 2
    assert encoder.encode(data, Framing.COPY, bytes_max=size - 1).rows == 1


def test_null_leaves_a_field_out_that_has_presence(make_encoder: Make) -> None:
    message = encoded(make_encoder, [Column(name="optional", type=Type.INT4, field="optional_int32")], [None])
    assert not message.HasField("optional_int32")


def test_an_empty_timestamp_and_midnight_are_present(make_encoder: Make) -> None:
    columns = [Column(name="t", type=Type.TIMESTAMPTZ, field="instant"), Column(name="c", type=Type.TIME, field="below.clock")]
    message = encoded(make_encoder, columns, [datetime(1970, 1, 1, tzinfo=UTC), time(0)])
    assert message.HasField("instant")
    assert message.below.HasField("clock")


def test_a_message_on_the_path_is_present_where_one_of_its_columns_is_not_null(make_encoder: Make) -> None:
    columns = [
        Column(name="a", type=Type.INT4, field="below.plain_int32"), Column(name="b", type=Type.INT4, field="below.beside.plain_int32"),
        Column(name="c", type=Type.INT4, field="beside.plain_int32"),
    ]  # fmt: skip
    message = encoded(make_encoder, columns, [None, 0, None])
    assert message.below.HasField("beside")
    assert not message.HasField("beside")


def test_a_number_that_the_enum_does_not_know_is_written(make_encoder: Make) -> None:
    message = encoded(make_encoder, [Column(name="kind", type=Type.INT2, field="plain_enum")], [-7])
    assert message.plain_enum == -7


def test_24_hours_are_a_time_of_day_though_not_one_of_python(make_encoder: Make) -> None:
    columns = [Column(name="clock", type=Type.TIME, field="clock")]
    midnight = (86_400_000_000).to_bytes(8, "big")
    assert encoded(make_encoder, columns, [midnight]).clock.hours == 24
    with pytest.raises(RowInvalid, match="column clock"):
        Plan.of(EVERY, columns).values(row(Framing.COPY, columns, [midnight]), 0, Framing.COPY, ["clock"])


def test_the_edges_of_all_months_that_matter_are_right_in_all_years(make_encoder: Make) -> None:
    columns = [Column(name="day", type=Type.DATE, field="day")]
    edges = ((1, 1), (2, 28), (3, 1), (12, 31))
    days = [date(year, month, day) for year in range(1, 10_000) for month, day in edges]
    values = [[day] for day in [*days, *(day - timedelta(days=1) for day in days if day.month == 3)]]
    made = make_encoder(Plan.of(EVERY, columns)).encode(rows(Framing.COPY, columns, values), Framing.COPY)
    assert made.body == page_of(1, columns, values).SerializeToString()


@given(day=st.dates(), seconds=st.integers(0, 86_399))
def test_all_days_are_right(make_encoder: Make, day: date, seconds: int) -> None:
    columns = [Column(name="d", type=Type.DATE, field="day"), Column(name="t", type=Type.TIMESTAMPTZ, field="instant")]
    instant = datetime(day.year, day.month, day.day, seconds // 3600, seconds // 60 % 60, seconds % 60, tzinfo=UTC)
    message = encoded(make_encoder, columns, [day, instant])
    assert (message.day.year, message.day.month, message.day.day) == (day.year, day.month, day.day)
    assert message.instant.ToDatetime(tzinfo=UTC) == instant


def test_a_nan_is_the_same_whatever_it_carries(make_encoder: Make) -> None:
    columns = [
        Column(name="a", type=Type.FLOAT8, field="plain_double"), Column(name="b", type=Type.FLOAT4, field="plain_float"),
        Column(name="c", type=Type.FLOAT4, field="optional_double"),
    ]  # fmt: skip
    odd = [b"\xff\xf0\0\0\0\0\0\1", b"\xff\x80\0\1", b"\x7f\x80\0\1"]
    usual = [math.nan, math.nan, math.nan]
    assert encoded(make_encoder, columns, odd).SerializeToString() == encoded(make_encoder, columns, usual).SerializeToString()


def test_the_trailer_of_a_copy_is_an_end(make_encoder: Make) -> None:
    data = row(Framing.COPY, ONE, [1])
    made = make_encoder(Plan.of(EVERY, ONE)).encode(data + COPY_TRAILER, Framing.COPY)
    assert (made.rows, made.consumed, made.stop) == (1, len(data), Stop.END)


def test_threads_share_an_encoder(make_encoder: Make) -> None:
    columns = [Column(name="text", type=Type.TEXT, field="plain_string")]
    encoder = make_encoder(Plan.of(EVERY, columns))
    wrong: list[int] = []

    def work(which: int) -> None:
        data = rows(Framing.COPY, columns, [[str(which) * 1_000]] * 50)
        wanted = page_of(1, columns, [[str(which) * 1_000]] * 50).SerializeToString()
        wrong.extend(which for _ in range(50) if encoder.encode(data, Framing.COPY).body != wanted)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_row_larger_than_any_buffer_is_encoded(make_encoder: Make) -> None:
    columns = [
        Column(name="text", type=Type.TEXT, field="below.below.plain_string"),
        Column(name="id", type=Type.UUID, field="plain_string"),
    ]
    values: list[list[Any]] = [["x" * 9_000_000, UUID(int=1)], ["y" * 100, None]]
    encoder = make_encoder(Plan.of(EVERY, columns))
    made = encoder.encode(rows(Framing.COPY, columns, values), Framing.COPY, bytes_max=1_000)
    assert (made.rows, made.stop) == (1, Stop.BYTES)
    assert made.body == page_of(1, columns, values[:1]).SerializeToString()


def test_the_rows_of_the_stage_are_those_of_the_server() -> None:
    assert packed(Type.TIMESTAMPTZ, datetime(2000, 1, 1, 0, 0, 1, tzinfo=UTC)) == (1_000_000).to_bytes(8, "big")
    assert packed(Type.DATE, date(1999, 12, 31)) == b"\xff\xff\xff\xff"
