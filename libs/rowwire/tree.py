"""The part of a message that columns fill, as a tree: what a plan is before it becomes numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from rowwire.columns import Column, Type

DEPTH_MAX = 64
"""Messages within one another below a row; parsers refuse 100."""


class Code(IntEnum):
    """How a value is written. The numbers are those of `enum code` in rowwire.c."""

    OPEN = 0
    CLOSE = 1
    VARINT = 2
    ZIGZAG = 3
    FIXED32 = 4
    FIXED64 = 5
    DECIMAL = 6
    BOOL = 7
    FLOAT = 8
    DOUBLE = 9
    TEXT = 10
    BYTES = 11
    UUID = 12
    TIMESTAMP = 13
    DATE = 14
    TIME = 15


class Range(IntEnum):
    """What an integer has to be within. The numbers are those of `enum range` in rowwire.c."""

    INT64 = 0
    INT32 = 1
    UINT32 = 2
    UNSIGNED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A field that one column fills."""

    descriptor: FieldDescriptor
    column: int
    """Its place in the row."""
    code: Code
    range: Range

    @property
    def name(self) -> str:
        """The field's name."""
        return self.descriptor.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A message, and the fields of it that columns fill. The root has no field of its own."""

    descriptor: FieldDescriptor | None
    message: Descriptor
    parts: "dict[int, Leaf | Branch]" = field(default_factory=dict)
    """By number of the field."""

    @property
    def name(self) -> str:
        """The field's name; the root has none."""
        return self.descriptor.name if self.descriptor else ""

    def in_order(self) -> "Iterator[Leaf | Branch]":
        """Yields the fields in the order of their numbers, in which protobuf writes them."""
        return (self.parts[number] for number in sorted(self.parts))

    def columns(self) -> Iterator[int]:
        """Yields the places of all columns at or below it."""
        for part in self.parts.values():
            yield from part.columns() if isinstance(part, Branch) else [part.column]


class ColumnRefused(ValueError):
    """A column cannot be written as it asks; the message says why."""


def place(root: Branch, column: Column, path: str, index: int) -> None:
    """Adds the field of a column, and the messages on its path; raises ColumnRefused."""
    *above, name = path.split(".")
    if len(above) > DEPTH_MAX:
        raise ColumnRefused(f"{path} is deeper than {DEPTH_MAX} messages")
    branch = root
    for step in above:
        branch = _branch(branch, step, path)
    descriptor = _field(branch, name, path)
    if descriptor.number in branch.parts:
        raise ColumnRefused(f"{path} is filled by another column")
    code, range = _how(column, descriptor, path)
    branch.parts[descriptor.number] = Leaf(descriptor=descriptor, column=index, code=code, range=range)


def _branch(above: Branch, name: str, path: str) -> Branch:
    descriptor = _field(above, name, path)
    message = descriptor.message_type
    if message is None or descriptor.type != FieldDescriptor.TYPE_MESSAGE:  # else a group
        raise ColumnRefused(f"{_where(name, path)} is no message")
    below = above.parts.get(descriptor.number)
    if below is None:
        below = above.parts[descriptor.number] = Branch(descriptor=descriptor, message=message)
    if isinstance(below, Leaf):
        raise ColumnRefused(f"{_where(name, path)} is filled by another column")
    return below


def _field(branch: Branch, name: str, path: str) -> FieldDescriptor:
    descriptor = branch.message.fields_by_name.get(name)
    if descriptor is None:
        raise ColumnRefused(f"{path}: {branch.message.full_name} has no field {name!r}")
    if descriptor.is_repeated:
        raise ColumnRefused(f"{_where(name, path)} is repeated")
    if any(each.is_required for each in branch.message.fields):
        raise ColumnRefused(f"{path}: {branch.message.full_name} has required fields, which a NULL would leave out")
    oneof = descriptor.containing_oneof
    for other in (part.descriptor for part in branch.parts.values()):
        if oneof and other and other.number != descriptor.number and other.containing_oneof == oneof:
            raise ColumnRefused(
                f"{_where(name, path)} is of the oneof {oneof.name}, as is {other.name}, which another column fills"
            )
    return descriptor


def _where(name: str, path: str) -> str:
    return path if path.rpartition(".")[2] == name else f"{name} in {path}"


_INTEGERS: Mapping[int, tuple[Code, Range]] = {
    FieldDescriptor.TYPE_INT32: (Code.VARINT, Range.INT32),
    FieldDescriptor.TYPE_ENUM: (Code.VARINT, Range.INT32),
    FieldDescriptor.TYPE_INT64: (Code.VARINT, Range.INT64),
    FieldDescriptor.TYPE_UINT32: (Code.VARINT, Range.UINT32),
    FieldDescriptor.TYPE_UINT64: (Code.VARINT, Range.UNSIGNED),
    FieldDescriptor.TYPE_SINT32: (Code.ZIGZAG, Range.INT32),
    FieldDescriptor.TYPE_SINT64: (Code.ZIGZAG, Range.INT64),
    FieldDescriptor.TYPE_FIXED32: (Code.FIXED32, Range.UINT32),
    FieldDescriptor.TYPE_SFIXED32: (Code.FIXED32, Range.INT32),
    FieldDescriptor.TYPE_FIXED64: (Code.FIXED64, Range.UNSIGNED),
    FieldDescriptor.TYPE_SFIXED64: (Code.FIXED64, Range.INT64),
    FieldDescriptor.TYPE_STRING: (Code.DECIMAL, Range.INT64),
}
_SCALARS: Mapping[Type, Mapping[int, Code]] = {
    Type.UUID: {FieldDescriptor.TYPE_STRING: Code.UUID},
    Type.TEXT: {FieldDescriptor.TYPE_STRING: Code.TEXT},
    Type.BYTES: {FieldDescriptor.TYPE_BYTES: Code.BYTES},
    Type.BOOL: {FieldDescriptor.TYPE_BOOL: Code.BOOL},
    Type.FLOAT4: {FieldDescriptor.TYPE_FLOAT: Code.FLOAT, FieldDescriptor.TYPE_DOUBLE: Code.DOUBLE},
    Type.FLOAT8: {FieldDescriptor.TYPE_DOUBLE: Code.DOUBLE},  # to float, it would be another number
}
_MESSAGES: Mapping[Type, tuple[str, Code]] = {
    Type.TIMESTAMPTZ: ("google.protobuf.Timestamp", Code.TIMESTAMP),
    Type.DATE: ("google.type.Date", Code.DATE),
    Type.TIME: ("google.type.TimeOfDay", Code.TIME),
}


def _how(column: Column, descriptor: FieldDescriptor, path: str) -> tuple[Code, Range]:
    """Returns how a value is written into a field; raises ColumnRefused where it cannot be."""
    if descriptor.enum_type is not None and descriptor.enum_type.is_closed:
        raise ColumnRefused(f"{path} is of a closed enum, which has no place for numbers that it does not know")
    if column.type in {Type.INT2, Type.INT4, Type.INT8}:
        if how := _INTEGERS.get(descriptor.type):
            return how
    elif column.type in _MESSAGES:
        name, code = _MESSAGES[column.type]
        if descriptor.message_type is not None and descriptor.message_type.full_name == name:
            return code, Range.INT64
    elif (known := _SCALARS[column.type].get(descriptor.type)) is not None:
        return known, Range.INT64
    raise ColumnRefused(f"{column.type.name} cannot be written to {path}, which is {_called(descriptor)}")


def _called(descriptor: FieldDescriptor) -> str:
    if descriptor.message_type is not None:
        return str(descriptor.message_type.full_name)
    return _TYPE_NAMES[descriptor.type]


_TYPE_NAMES = {
    value: name.removeprefix("TYPE_").lower() for name, value in vars(FieldDescriptor).items() if name.startswith("TYPE_")
}  # fmt: skip
