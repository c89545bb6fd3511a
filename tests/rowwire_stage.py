"""Messages with a field of every kind, plans for any choice of them, rows, and what protobuf itself makes of those."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.type import date_pb2, timeofday_pb2
from hypothesis import strategies as st

from rowwire import Column, Encoder, Framing, Plan, Type
from tests.rows import row as written

ROWS_FIELDS = (1, 15, 16, 2000, 2**29 - 1)
SCALARS = (
    "double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "bytes", "uint32", "sfixed32", "sfixed64",
    "sint32", "sint64",
)  # fmt: skip
MESSAGES = {"instant": ".google.protobuf.Timestamp", "day": ".google.type.Date", "clock": ".google.type.TimeOfDay"}
WELL_KNOWN = {Type.TIMESTAMPTZ: "instant", Type.DATE: "day", Type.TIME: "clock"}
HUGE = 100_000


def _file() -> descriptor_pb2.FileDescriptorProto:
    """Declares `Every`, in which numbers of fields go against the order of their declaration, and `Page`."""
    file = descriptor_pb2.FileDescriptorProto(
        name="rowwire_test.proto", package="rowwire.test", syntax="proto3",
        dependency=["google/protobuf/timestamp.proto", "google/type/date.proto", "google/type/timeofday.proto"],
    )  # fmt: skip
    file.enum_type.add(name="Kind").value.add(name="KIND_UNSPECIFIED", number=0)
    every = file.message_type.add(name="Every")
    every.oneof_decl.add(name="choice")
    number = 2 * len(SCALARS) + 20
    for scalar in SCALARS:
        type = getattr(FieldDescriptor, f"TYPE_{scalar.upper()}")
        every.field.add(name=f"plain_{scalar}", number=(number := number - 1), type=type)
        every.field.add(name=f"optional_{scalar}", number=(number := number - 1) + 3000, type=type, proto3_optional=True)
    every.field.add(name="plain_enum", number=1, type=FieldDescriptor.TYPE_ENUM, type_name=".rowwire.test.Kind")
    for extra, name in enumerate(MESSAGES):
        every.field.add(name=name, number=2 + extra, type=FieldDescriptor.TYPE_MESSAGE, type_name=MESSAGES[name])
    every.field.add(name="below", number=17, type=FieldDescriptor.TYPE_MESSAGE, type_name=".rowwire.test.Every")
    every.field.add(name="beside", number=16, type=FieldDescriptor.TYPE_MESSAGE, type_name=".rowwire.test.Every")
    every.field.add(name="choice_text", number=6, type=FieldDescriptor.TYPE_STRING, oneof_index=0)
    every.field.add(name="choice_number", number=7, type=FieldDescriptor.TYPE_INT64, oneof_index=0)
    every.field.add(
        name="choice_below", number=8, type=FieldDescriptor.TYPE_MESSAGE, type_name=".rowwire.test.Every", oneof_index=0
    )
    every.field.add(name="many", number=9, type=FieldDescriptor.TYPE_INT64, label=FieldDescriptor.LABEL_REPEATED)
    for optional in (field for field in every.field if field.proto3_optional):
        optional.oneof_index = len(every.oneof_decl)
        every.oneof_decl.add(name=f"_{optional.name}")
    page = file.message_type.add(name="Page")
    for each in ROWS_FIELDS:
        page.field.add(
            name=f"rows_{each}", number=each, type=FieldDescriptor.TYPE_MESSAGE, type_name=".rowwire.test.Every",
            label=FieldDescriptor.LABEL_REPEATED,
        )  # fmt: skip
    return file


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for module in (timestamp_pb2, date_pb2, timeofday_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.Add(_file())
    return pool


_POOL = _pool()
EVERY = _POOL.FindMessageTypeByName("rowwire.test.Every")
Page: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("rowwire.test.Page"))

_INTEGERS: Mapping[str, tuple[int, int]] = {
    "int32": (-(2**31), 2**31 - 1), "enum": (-(2**31), 2**31 - 1), "sint32": (-(2**31), 2**31 - 1), "sfixed32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1), "sint64": (-(2**63), 2**63 - 1), "sfixed64": (-(2**63), 2**63 - 1), "string": (-(2**63), 2**63 - 1),
    "number": (-(2**63), 2**63 - 1), "text": (-(2**63), 2**63 - 1), "uint32": (0, 2**32 - 1), "fixed32": (0, 2**32 - 1), "uint64": (0, 2**63 - 1), "fixed64": (0, 2**63 - 1),
}  # fmt: skip
"""What each kind of field holds of what a column can hold."""
INTEGER_BITS = {Type.INT2: 16, Type.INT4: 32, Type.INT8: 64}


def fields_for(type: Type) -> Sequence[str]:
    """The fields of `Every` that a column may be written to."""
    if type in WELL_KNOWN:
        return [WELL_KNOWN[type]]
    if type in INTEGER_BITS:
        return [field for field in _named() if field.rpartition("_")[2] in _INTEGERS]
    wanted = {
        Type.UUID: ("string", "text"), Type.TEXT: ("string", "text"), Type.BYTES: ("bytes",), Type.BOOL: ("bool",),
        Type.FLOAT4: ("float", "double"), Type.FLOAT8: ("double",),
    }[type]  # fmt: skip
    return [field for field in _named() if field.rpartition("_")[2] in wanted]


def _named() -> Iterator[str]:
    return (field.name for field in EVERY.fields if "_" in field.name and field.message_type is None)


@st.composite
def columns(draw: st.DrawFn) -> list[Column]:
    """Columns that make a valid plan; some are not written."""
    taken: set[str] = set()
    made = []
    for index in range(draw(st.integers(1, 10))):
        type = draw(st.sampled_from(Type))
        above = draw(st.lists(st.sampled_from(("below", "beside", "choice_below")), max_size=3))
        path = ".".join([*above, draw(st.sampled_from(fields_for(type)))])
        if draw(st.integers(0, 9)) and not _clashes(path, taken):
            taken.add(path)
            made.append(Column(name=f"c{index}", type=type, field=path))
        else:
            made.append(Column(name=f"c{index}", type=type))
    return made


def _clashes(path: str, taken: set[str]) -> bool:
    """Whether a field is there already, or another one of its oneof, at any level."""
    steps = path.split(".")
    for depth, step in enumerate(steps):
        above = ".".join(steps[:depth])
        others = {other.split(".")[depth] for other in taken if other.startswith(above) and other.count(".") >= depth}
        if step.startswith("choice") and any(other.startswith("choice") and other != step for other in others):
            return True
    return path in taken


def value_for(column: Column) -> st.SearchStrategy[Any]:
    """Values that a column's field can hold, and None."""
    if column.type in INTEGER_BITS:
        low, high = -(2 ** (INTEGER_BITS[column.type] - 1)), 2 ** (INTEGER_BITS[column.type] - 1) - 1
        first, last = _INTEGERS[(column.field or "int64").rpartition("_")[2]]
        within = (max(low, first), min(high, last))
        return st.none() | st.integers(*within) | st.sampled_from((within[0], 0, within[1]))
    return st.none() | _VALUES[column.type]


_VALUES: Mapping[Type, st.SearchStrategy[Any]] = {
    Type.UUID: st.uuids(),
    Type.TEXT: st.text(st.sampled_from("az \0é߿ࠀ€\ud7ff\ue000🍜\U0010ffff"), max_size=20) | st.sampled_from(("", "é" * (HUGE // 2), "x" * 127, "x" * 128, "x" * 16_384)),
    Type.BYTES: st.binary(max_size=40) | st.sampled_from((b"", bytes(HUGE))),
    Type.BOOL: st.booleans(),
    Type.FLOAT4: st.floats(width=32),
    Type.FLOAT8: st.floats(),
    Type.TIMESTAMPTZ: (st.datetimes() | st.sampled_from((datetime.min, datetime.max, datetime(1970, 1, 1)))).map(  # noqa: DTZ001, DTZ901  # UTC is added
        lambda naive: naive.replace(tzinfo=UTC, fold=0)
    ),
    Type.DATE: st.dates(),
    Type.TIME: st.times().map(lambda clock: clock.replace(fold=0)),
}  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Column], list[list[Any]]]:
    """Columns, and rows of them."""
    made = draw(columns())
    return made, draw(st.lists(st.tuples(*map(value_for, made)).map(list), max_size=4))


def filled(message: Message, columns: Sequence[Column], values: Sequence[Any]) -> None:
    """Fills a message as people do."""
    for column, value in zip(columns, values, strict=True):
        if value is None or column.field is None:
            continue
        target: Any = message
        *above, name = column.field.split(".")
        for step in above:
            target = getattr(target, step)
            target.SetInParent()
        match column.type:
            case Type.TIMESTAMPTZ:
                getattr(target, name).SetInParent()
                getattr(target, name).FromDatetime(value)
            case Type.DATE:
                getattr(target, name).CopyFrom(date_of(target, name, value))
            case Type.TIME:
                clock = getattr(target, name)
                clock.SetInParent()
                clock.hours, clock.minutes, clock.seconds, clock.nanos = (
                    value.hour,
                    value.minute,
                    value.second,
                    value.microsecond * 1_000,
                )
            case _:
                field = target.DESCRIPTOR.fields_by_name[name]
                plain = math.nan if isinstance(value, float) and math.isnan(value) else value
                setattr(target, name, str(plain) if field.type == FieldDescriptor.TYPE_STRING else plain)


def date_of(target: Any, name: str, value: Any) -> Message:
    """A google.type.Date."""
    made = type(getattr(target, name))(year=value.year, month=value.month, day=value.day)
    return cast("Message", made)


def page_of(field: int, columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> Any:
    """The page that these rows make."""
    page: Any = Page()
    for row in rows:
        filled(getattr(page, f"rows_{field}").add(), columns, row)
    return page


def encoded(
    make: Callable[[Plan], Encoder], columns: Sequence[Column], values: Sequence[Any], framing: Framing = Framing.RECORDS
) -> Any:
    """The message that one row becomes."""
    body = make(Plan.of(EVERY, columns)).encode(written(framing, columns, values), framing).body
    return Page.FromString(body).rows_1[0]
