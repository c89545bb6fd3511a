"""Damaged rows: both encoders find the same fault, or write the same bytes; nothing crashes."""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowwire import (
    UNLIMITED,
    Column,
    Encoder,
    Fault,
    Framing,
    Loaded,
    Plan,
    RowInvalid,
    Stop,
    Type,
    loading,
)
from rowwire.compiled import ROOM
from rowwire.plans import ABI
from rowwire.tree import DEPTH_MAX, Code
from tests.encoders import compiled
from tests.rows import row, rows
from tests.rowwire_reference import ReferenceEncoder
from tests.rowwire_stage import EVERY, tables

COLUMNS = [
    Column(name="uuid", type=Type.UUID, field="plain_string"), Column(name="text", type=Type.TEXT, field="below.plain_string"),
    Column(name="bytes", type=Type.BYTES, field="plain_bytes"), Column(name="bool", type=Type.BOOL, field="plain_bool"),
    Column(name="int2", type=Type.INT2, field="plain_uint32"), Column(name="int8", type=Type.INT8, field="below.optional_string"),
    Column(name="float4", type=Type.FLOAT4, field="plain_double"), Column(name="instant", type=Type.TIMESTAMPTZ, field="instant"),
    Column(name="day", type=Type.DATE, field="day"), Column(name="clock", type=Type.TIME, field="clock"),
    Column(name="null", type=Type.INT4),
]  # fmt: skip
VALUES = [
    UUID(int=5), "a téxt", b"\0\1", True, 7, -(2**63), 1.5, datetime(2026, 7, 1, 12, tzinfo=UTC), date(2026, 7, 1), time(19, 30), None,
]  # fmt: skip
PLAN = Plan.of(EVERY, COLUMNS)


def outcome(made: Encoder, data: bytes, framing: Framing) -> Any:
    """What an encoder answers, or refuses; comparable."""
    try:
        return made.encode(data, framing)
    except RowInvalid as error:
        return str(error), error.row, error.column, error.fault


@pytest.fixture(scope="session")
def same(compiled_library: Loaded) -> Callable[[Plan, bytes, Framing], Any]:
    """Returns what both encoders answer."""

    def check(plan: Plan, data: bytes, framing: Framing) -> Any:
        answer = outcome(compiled(plan, compiled_library), data, framing)
        assert answer == outcome(ReferenceEncoder(plan), data, framing)
        return answer

    return check


@pytest.mark.parametrize("framing", Framing)
def test_a_cut_at_any_place_is_noticed(same: Callable[..., Any], framing: Framing) -> None:
    one = row(framing, COLUMNS, VALUES)
    for at in range(1, len(one)):
        answer = same(PLAN, one + one[:at], framing)
        if framing is Framing.COPY:
            assert (answer.rows, answer.consumed, answer.stop) == (1, len(one), Stop.DATA)
        else:
            assert answer[1] == 1
            assert answer[3] is Fault.CUT


@pytest.mark.parametrize("framing", Framing)
def test_any_change_of_any_byte_means_the_same_to_both(same: Callable[..., Any], framing: Framing) -> None:
    whole = rows(framing, COLUMNS, [VALUES] * 2)
    for at in range(len(whole) // 2):
        for byte in (0, 1, 0x7F, 0x80, 0xFE, 0xFF, whole[at] ^ 1):
            same(PLAN, whole[:at] + bytes([byte]) + whole[at + 1 :], framing)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # tables are large, and machines differ
@given(table=tables(), data=st.data(), framing=st.sampled_from(Framing))
def test_any_damage_means_the_same_to_both(same: Callable[..., Any], table: Any, data: st.DataObject, framing: Framing) -> None:
    columns, values = table
    whole = bytearray(rows(framing, columns, values))
    for _ in range(data.draw(st.integers(1, 3)) if whole else 0):
        at = data.draw(st.integers(0, min(len(whole) - 1, 300)))
        whole[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        if not whole:
            break
    same(Plan.of(EVERY, columns), bytes(whole), framing)


@given(data=st.binary(max_size=64), framing=st.sampled_from(Framing))
def test_any_bytes_mean_the_same_to_both(same: Callable[..., Any], data: bytes, framing: Framing) -> None:
    same(Plan.of(EVERY, COLUMNS[3:5]), data, framing)


@pytest.mark.parametrize("damage", range(len(PLAN.words)))
def test_a_plan_that_is_damaged_is_refused_or_does_no_harm(compiled_library: Loaded, damage: int) -> None:
    data = row(Framing.COPY, COLUMNS, VALUES)
    for word in (-1, 0, 1, 2, 7, 16, 1_665, 2**31 - 1, -(2**31)):
        made = compiled(PLAN, compiled_library)
        made._words[damage] = word
        with suppress(RuntimeError, RowInvalid):
            assert made.encode(data, Framing.COPY).rows == 1


@pytest.mark.parametrize(
    ("damage", "word"), [(0, 2), (2, 1_665), (2, -1), (3, -1), (3, 2**31 - 1), (4, 12), (4, -1), (-4, 16), (-3, 11)]
)
def test_a_plan_that_makes_no_sense_is_refused(compiled_library: Loaded, damage: int, word: int) -> None:
    made = compiled(PLAN, compiled_library)
    made._words[damage % len(PLAN.words)] = word
    with pytest.raises(RuntimeError, match="another version"):
        made.encode(b"", Framing.COPY)


def test_messages_deeper_than_the_encoder_can_go_are_refused(compiled_library: Loaded) -> None:
    made = compiled(PLAN, compiled_library)

    def nest(depth: int) -> None:
        words = [ABI, 10, 0, 2 * depth, *[Code.OPEN, 0, 10, 0] * depth, *[Code.CLOSE, 0, 0, 0] * depth]
        made._words = (ctypes.c_int32 * len(words))(*words)

    nest(DEPTH_MAX)
    assert made.encode(b"\0\0", Framing.COPY).rows == 1
    nest(DEPTH_MAX + 1)
    with pytest.raises(RuntimeError, match="another version"):
        made.encode(b"\0\0", Framing.COPY)


@pytest.mark.parametrize("size", [100, 200, 17_000])
def test_a_buffer_of_any_size_is_enough_or_too_small_and_never_exceeded(compiled_library: Loaded, size: int) -> None:
    """All messages on the path become longer when they close, as the space for their lengths is kept for short ones."""
    columns = [Column(name="text", type=Type.TEXT, field="below." * DEPTH_MAX + "plain_string")]
    plan = Plan.of(EVERY, columns)
    data = row(Framing.COPY, columns, ["x" * size])
    body = ReferenceEncoder(plan).encode(data, Framing.COPY).body
    functions = compiled_library.functions
    assert functions is not None
    words = (ctypes.c_int32 * len(plan.words))(*plan.words)
    statuses = []
    for room in [*range(300), *range(len(body) - 300, len(body) + 300)]:
        buffer = ctypes.create_string_buffer(b"\xaa" * (len(body) + 600), len(body) + 600)
        progress = loading.Progress()
        status = functions.rowwire_encode(
            words, len(words), Framing.COPY, data, len(data), buffer, room, 1, UNLIMITED, UNLIMITED, ctypes.byref(progress)
        )  # fmt: skip
        statuses.append(status)
        assert buffer.raw[room:].strip(b"\xaa") == b""
        assert buffer.raw[: progress.size] == (body if status == Stop.DATA else b"")
    assert statuses == sorted(statuses, reverse=True)
    assert set(statuses) == {ROOM, Stop.DATA}
