"""What becomes of each column: made once from a message's descriptor, and then carried out for every row."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from rowwire.columns import VALUES, CellRefused, Column
from rowwire.rows import Framing, Layout, RowInvalid
from rowwire.tree import Branch, Code, ColumnRefused, Leaf, Range, place

ABI = 1
"""Of rowwire.c; the first number of a plan."""
COLUMNS_MAX = 1664
"""A row of PostgreSQL has no more."""
FIELD_MAX = 2**29 - 1
"""The highest number of a field."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIRE_TYPES = {
    FieldDescriptor.TYPE_STRING: _BYTES, FieldDescriptor.TYPE_BYTES: _BYTES, FieldDescriptor.TYPE_MESSAGE: _BYTES,
    FieldDescriptor.TYPE_FIXED64: _FIXED64, FieldDescriptor.TYPE_SFIXED64: _FIXED64, FieldDescriptor.TYPE_DOUBLE: _FIXED64,
    FieldDescriptor.TYPE_FIXED32: _FIXED32, FieldDescriptor.TYPE_SFIXED32: _FIXED32, FieldDescriptor.TYPE_FLOAT: _FIXED32,
}  # fmt: skip


class PlanInvalid(ValueError):
    """Columns that cannot be written as they ask."""

    def __init__(self, wrong: Sequence[str]) -> None:
        self.wrong = tuple(wrong)
        """A sentence for each column, and for what is wrong with all of them."""
        super().__init__("; ".join(wrong))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How rows become messages of a repeated field. Make it with `Plan.of`."""

    columns: tuple[Column, ...]
    field: int
    tree: Branch = dataclasses.field(repr=False)
    layout: Layout = dataclasses.field(repr=False)
    places: Mapping[str, int] = dataclasses.field(repr=False)
    """Of the columns, by name."""
    words: tuple[int, ...] = dataclasses.field(repr=False)
    """What the compiled encoder reads: version, tag of a row, counts, types of the columns, and four numbers for each step."""

    @classmethod
    def of(cls, descriptor: Descriptor, columns: Sequence[Column], *, field: int = 1) -> Self:
        """Returns the plan for rows that become messages of a type, in the repeated field of that number.

        Raises PlanInvalid with everything that is wrong.
        """
        tree = Branch(descriptor=None, message=descriptor)
        wrong = []
        if not 1 <= field <= FIELD_MAX:
            wrong.append(f"{field} is no number of a field")
        if len(columns) > COLUMNS_MAX:
            wrong.append(f"there are {len(columns)} columns, more than {COLUMNS_MAX}")
        names: set[str] = set()
        for index, column in enumerate(columns):
            if column.name in names:
                wrong.append(f"column {column.name}: there is another one of this name")
            names.add(column.name)
            try:
                if column.field is not None:
                    place(tree, column, column.field, index)
            except ColumnRefused as refused:
                wrong.append(f"column {column.name}: {refused}")
        if wrong:
            raise PlanInvalid(wrong)
        steps = [number for step in _steps(tree) for number in step]
        words = (ABI, _signed(field << 3 | _BYTES), len(columns), len(steps) // 4, *(column.type for column in columns), *steps)
        return cls(
            columns=tuple(columns),
            field=field,
            tree=tree,
            layout=Layout.of(columns),
            words=words,
            places={column.name: place for place, column in enumerate(columns)},
        )

    def values(self, data: bytes, offset: int, framing: Framing, names: Sequence[str]) -> tuple[Any, ...]:
        """Returns Python's values of some columns of the row at an offset, None for NULL: for keys, not for whole pages.

        Only what stands before the last of them is read, so columns of keys come first.

        A timestamptz is an aware datetime in UTC. Raises KeyError for a column that there is not. Raises RowInvalid also for a
        time of 24:00:00, which Python does not have.
        """
        places = [self.places[name] for name in names]
        cells, _ = self.layout.read(data, offset, framing, cells_max=max(places, default=0) + 1)
        return tuple(_value(self.columns[place], cells[place]) for place in places)


def _value(column: Column, cell: bytes | None) -> Any:
    if cell is None:
        return None
    try:
        return VALUES[column.type](cell)
    except CellRefused as refused:
        raise RowInvalid(row=0, column=column, fault=refused.fault) from None


def _steps(branch: Branch) -> Iterator[tuple[int, int, int, int]]:
    """Yields (code, column, tag, flags) for each field below; two for a message."""
    for part in branch.in_order():
        tag = _tag(part.descriptor)
        if isinstance(part, Leaf):
            yield part.code, part.column, tag, int(part.descriptor.has_presence) | part.range << 1
        else:
            yield Code.OPEN, 0, tag, Range.INT64
            yield from _steps(part)
            yield Code.CLOSE, 0, 0, Range.INT64


def _tag(descriptor: FieldDescriptor | None) -> int:
    return _signed(descriptor.number << 3 | _WIRE_TYPES.get(descriptor.type, _VARINT)) if descriptor else 0


def _signed(word: int) -> int:
    """Returns the int32 with the bits of a uint32."""
    return word - 2**32 if word >= 2**31 else word
