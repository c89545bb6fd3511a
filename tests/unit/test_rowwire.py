"""Rows become the bytes that protobuf itself would write, in C and in Python."""

import math
import struct
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowwire import Column, Encoder, Fault, Framing, Plan, RowInvalid, Stop, Type
from tests.rows import COPY_TRAILER, packed, row, rows
from tests.rowwire_stage import EVERY, ROWS_FIELDS, Page, page_of, tables

Make = Callable[[Plan], Encoder]
any_table = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # tables are large, and machines differ
ONE = [Column(name="number", type=Type.INT8, field="plain_int64")]


def encoded(make: Make, columns: Sequence[Column], values: Sequence[Any], framing: Framing = Framing.RECORDS) -> Any:
    """The message that one row becomes."""
    body = make(Plan.of(EVERY, columns)).encode(row(framing, columns, values), framing).body
    return Page.FromString(body).rows_1[0]


def refused(make: Make, column: Column, value: Any) -> RowInvalid:
    """Why a row is refused, the second of its call."""
    data = row(Framing.COPY, [column], [None]) + row(Framing.COPY, [column], [value])
    with pytest.raises(RowInvalid) as raised:
        make(Plan.of(EVERY, [column])).encode(data, Framing.COPY)
    assert (raised.value.row, raised.value.column) == (1, column)
    assert column.name in str(raised.value)
    return raised.value


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


@pytest.mark.parametrize(
    ("type", "field", "value"),
    [
        (Type.INT8, "plain_int32", 2**31), (Type.INT8, "plain_int32", -(2**31) - 1), (Type.INT8, "plain_enum", 2**31),
        (Type.INT8, "plain_sint32", 2**40), (Type.INT8, "plain_sfixed32", -(2**40)), (Type.INT8, "plain_uint32", 2**32),
        (Type.INT2, "plain_uint32", -1), (Type.INT8, "plain_uint64", -1), (Type.INT4, "plain_fixed32", -1),
        (Type.INT8, "plain_fixed32", 2**32), (Type.INT8, "plain_fixed64", -1), (Type.BOOL, "plain_bool", b"\2"),
        (Type.TIMESTAMPTZ, "instant", 2**63 - 1), (Type.TIMESTAMPTZ, "instant", -(2**63)),
        (Type.TIMESTAMPTZ, "instant", 252_455_616_000_000_000), (Type.TIMESTAMPTZ, "instant", -63_082_281_600_000_001),
        (Type.DATE, "day", 2**31 - 1), (Type.DATE, "day", -(2**31)), (Type.DATE, "day", 2_921_940), (Type.DATE, "day", -730_120),
        (Type.TIME, "clock", -1), (Type.TIME, "clock", 86_400_000_001),
    ],
)  # fmt: skip
def test_a_value_that_its_field_cannot_hold_is_refused(make_encoder: Make, type: Type, field: str, value: Any) -> None:
    sizes = {Type.TIMESTAMPTZ: 8, Type.TIME: 8, Type.DATE: 4}
    cell = value.to_bytes(sizes[type], "big", signed=True) if type in sizes else value
    assert refused(make_encoder, Column(name="the column", type=type, field=field), cell).fault is Fault.RANGE


@pytest.mark.parametrize(
    "text",
    [
        b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc2", b"\xc2\x41", b"\xe0\x9f\xbf", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x8f\xbf\xbf",
        b"\xf0\x9f\x8d", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff", b"eight byte\xff", b"\xc3\xa9 and then \xc3",
    ],
)  # fmt: skip
def test_text_that_is_not_utf8_is_refused(make_encoder: Make, text: bytes) -> None:
    assert refused(make_encoder, Column(name="the column", type=Type.TEXT, field="plain_string"), text).fault is Fault.TEXT


@given(
    text=st.binary(max_size=12)
    | st.lists(st.sampled_from([0x41, 0x80, 0x9F, 0xA0, 0xBF, 0xC2, 0xE0, 0xED, 0xF0, 0xF4]), max_size=10).map(bytes)
)
def test_utf8_is_what_python_takes_for_it(make_encoder: Make, text: bytes) -> None:
    columns = [Column(name="text", type=Type.TEXT, field="plain_string")]
    try:
        wanted = text.decode()
    except UnicodeDecodeError:
        assert refused(make_encoder, columns[0], text).fault is Fault.TEXT
    else:
        assert encoded(make_encoder, columns, [text]).plain_string == wanted


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


def test_a_record_of_another_type_is_refused(make_encoder: Make) -> None:
    sent = [Column(name="number", type=Type.TIMESTAMPTZ)]
    with pytest.raises(RowInvalid, match="row 0, column number: its type is not INT8"):
        make_encoder(Plan.of(EVERY, ONE)).encode(row(Framing.RECORDS, sent, [datetime(2026, 1, 1, tzinfo=UTC)]), Framing.RECORDS)


@pytest.mark.parametrize("oid", [25, 1043, 1042])
def test_varchar_and_char_are_texts(make_encoder: Make, oid: int) -> None:
    plan = Plan.of(EVERY, [Column(name="text", type=Type.TEXT, field="plain_string")])
    data = struct.pack(">iIi", 1, oid, 2) + b"ab"
    assert Page.FromString(make_encoder(plan).encode(data, Framing.RECORDS).body).rows_1[0].plain_string == "ab"


@pytest.mark.parametrize("framing", Framing)
def test_a_row_of_other_columns_is_refused(make_encoder: Make, framing: Framing) -> None:
    with pytest.raises(RowInvalid, match="row 0: it has not as many columns"):
        make_encoder(Plan.of(EVERY, ONE)).encode(row(framing, ONE * 2, [1, 2]), framing)


def test_the_trailer_of_a_copy_is_an_end(make_encoder: Make) -> None:
    data = row(Framing.COPY, ONE, [1])
    made = make_encoder(Plan.of(EVERY, ONE)).encode(data + COPY_TRAILER, Framing.COPY)
    assert (made.rows, made.consumed, made.stop) == (1, len(data), Stop.END)


@pytest.mark.parametrize("arguments", [{"start": -1}, {"start": 2}, {"rows_max": -1}, {"bytes_max": 2**63}, {"rows_min": -1}])
def test_arguments_out_of_bounds_are_refused(make_encoder: Make, arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"offset|limits"):
        make_encoder(Plan.of(EVERY, ONE)).encode(b"\0", Framing.COPY, **arguments)


def test_other_buffers_than_bytes_are_refused(make_encoder: Make) -> None:
    with pytest.raises(TypeError, match="bytearray"):
        make_encoder(Plan.of(EVERY, ONE)).encode(bytearray(2), Framing.COPY)  # type: ignore[arg-type]  # that is the point


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
