"""What columns may be written to which fields."""

from itertools import product
from typing import cast

import pytest
from google.protobuf import descriptor_pb2, struct_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from rowwire import Column, Plan, PlanInvalid, Type
from rowwire.plans import COLUMNS_MAX
from tests.rowwire_stage import EVERY, fields_for


def wrong(*columns: Column, descriptor: Descriptor = EVERY, field: int = 1) -> tuple[str, ...]:
    with pytest.raises(PlanInvalid) as raised:
        Plan.of(descriptor, columns, field=field)
    assert str(raised.value) == "; ".join(raised.value.wrong)
    return raised.value.wrong


def integer(name: str, field: str) -> Column:
    return Column(name=name, type=Type.INT4, field=field)


def test_each_type_goes_where_it_can_and_nowhere_else() -> None:
    for type, field in product(Type, (field.name for field in EVERY.fields)):
        column = Column(name="column", type=type, field=field)
        if field in fields_for(type):
            assert Plan.of(EVERY, [column]).columns == (column,)
        else:
            assert "column column: " in wrong(column)[0]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    said = wrong(
        integer("a", "nothing"), integer("b", "below.nothing"), integer("c", "plain_int32.nothing"), integer("d", "many"),
        Column(name="e", type=Type.UUID, field="plain_int32"), integer("f", "plain_int64"), integer("g", "plain_int64"),
        integer("h", "plain_uint32"), integer("h", "plain_uint64"), Column(name="i", type=Type.FLOAT8, field="plain_float"), field=0,
    )  # fmt: skip
    assert said == (
        "0 is no number of a field",
        "column a: nothing: rowwire.test.Every has no field 'nothing'",
        "column b: below.nothing: rowwire.test.Every has no field 'nothing'",
        "column c: plain_int32 in plain_int32.nothing is no message",
        "column d: many is repeated",
        "column e: UUID cannot be written to plain_int32, which is int32",
        "column g: plain_int64 is filled by another column",
        "column h: there is another one of this name",
        "column i: FLOAT8 cannot be written to plain_float, which is float",
    )


def test_two_columns_of_one_oneof_are_refused_at_any_depth() -> None:
    said = wrong(
        Column(name="a", type=Type.TEXT, field="below.choice_text"), integer("b", "below.choice_number"),
        integer("c", "below.choice_below.plain_int32"), integer("d", "choice_number"),
    )  # fmt: skip
    assert said == (
        "column b: below.choice_number is of the oneof choice, as is choice_text, which another column fills",
        "column c: choice_below in below.choice_below.plain_int32 is of the oneof choice, as is choice_text, which another column fills",
    )


def test_a_message_in_a_oneof_may_have_several_columns() -> None:
    assert Plan.of(EVERY, [integer("a", "choice_below.plain_int32"), integer("b", "choice_below.plain_int64")])


def test_a_message_is_filled_whole_or_field_by_field() -> None:
    instant, seconds = (
        Column(name="a", type=Type.TIMESTAMPTZ, field="instant"),
        Column(name="b", type=Type.INT8, field="instant.seconds"),
    )
    assert wrong(instant, seconds) == ("column b: instant in instant.seconds is filled by another column",)
    assert wrong(seconds, instant) == ("column a: instant is filled by another column",)


@pytest.mark.parametrize(
    ("message", "field", "why"),
    [
        (descriptor_pb2.UninterpretedOption.NamePart, "is_extension", "has required fields"),
        (descriptor_pb2.FieldDescriptorProto, "type", "is of a closed enum"),
        (struct_pb2.Struct, "fields", "is repeated"),
    ],
)
def test_fields_that_a_null_or_an_unknown_number_would_break_are_refused(message: type[Message], field: str, why: str) -> None:
    assert why in wrong(integer("column", field), descriptor=cast("Descriptor", message.DESCRIPTOR))[0]


def test_more_columns_than_a_row_can_have_are_refused() -> None:
    columns = [Column(name=f"c{index}", type=Type.BOOL) for index in range(COLUMNS_MAX + 1)]
    assert Plan.of(EVERY, columns[:-1])
    assert wrong(*columns) == (f"there are {COLUMNS_MAX + 1} columns, more than {COLUMNS_MAX}",)


def test_nesting_has_a_limit() -> None:
    assert Plan.of(EVERY, [integer("a", "below." * 64 + "plain_int32")])
    assert "deeper than 64 messages" in wrong(integer("a", "below." * 65 + "plain_int32"))[0]
