"""What no row may have, and how it is refused: never with wrong bytes."""

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowwire import Column, Encoder, Fault, Framing, Plan, RowInvalid, Type
from tests.rows import row
from tests.rowwire_stage import EVERY, Page, encoded

Make = Callable[[Plan], Encoder]
ONE = [Column(name="number", type=Type.INT8, field="plain_int64")]


def refused(make: Make, column: Column, value: Any) -> RowInvalid:
    """Why a row is refused, the second of its call."""
    data = row(Framing.COPY, [column], [None]) + row(Framing.COPY, [column], [value])
    with pytest.raises(RowInvalid) as raised:
        make(Plan.of(EVERY, [column])).encode(data, Framing.COPY)
    assert (raised.value.row, raised.value.column) == (1, column)
    assert column.name in str(raised.value)
    return raised.value


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


def test_a_byte_that_is_not_utf8_is_found_at_any_place(make_encoder: Make) -> None:
    column = Column(name="text", type=Type.TEXT, field="plain_string")
    for length in range(1, 40):
        for at in range(length):
            text = b"x" * at + b"\xff" + b"x" * (length - at - 1)
            assert refused(make_encoder, column, text).fault is Fault.TEXT


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


@pytest.mark.parametrize("arguments", [{"start": -1}, {"start": 2}, {"rows_max": -1}, {"bytes_max": 2**63}, {"rows_min": -1}])
def test_arguments_out_of_bounds_are_refused(make_encoder: Make, arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"offset|limits"):
        make_encoder(Plan.of(EVERY, ONE)).encode(b"\0", Framing.COPY, **arguments)


def test_other_buffers_than_bytes_are_refused(make_encoder: Make) -> None:
    with pytest.raises(TypeError, match="bytearray"):
        make_encoder(Plan.of(EVERY, ONE)).encode(bytearray(2), Framing.COPY)  # type: ignore[arg-type]  # that is the point
