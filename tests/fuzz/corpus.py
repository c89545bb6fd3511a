"""Makes what fuzzing of `rowwire` begins with, into tests/fuzz/corpus: plans and rows that are right, in both framings.

PYTHONPATH=libs:protos/python .venv/bin/python -m tests.fuzz.corpus
"""

import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID

from google.protobuf import descriptor_pb2, timestamp_pb2

from rowwire import Column, Framing, Plan, Type
from tests.rows import COPY_TRAILER, rows

FOLDER = Path(__file__).with_name("corpus")
COPY_FRAMING, EVERY_CODE, SMALL = 1, 2, 4
INTEGERS = (Type.INT2, Type.INT4, Type.INT8)
EVERY = (
    *INTEGERS * 5, Type.BOOL, Type.FLOAT4, Type.FLOAT4, Type.FLOAT8, Type.TEXT, Type.BYTES, Type.UUID, Type.TIMESTAMPTZ, Type.DATE, Type.TIME,
)  # fmt: skip
"""The columns of the harness's own plan, in its order."""
VALUES: dict[Type, tuple[Any, Any]] = {
    Type.UUID: (UUID(int=0), UUID(int=2**128 - 1)),
    Type.TEXT: ("", "Łódź 🍜 and more than eight letters"),
    Type.BYTES: (b"", b"\xff\0" * 70),
    Type.BOOL: (False, True),
    Type.INT2: (0, 2**15 - 1),
    Type.INT4: (0, 2**31 - 1),
    Type.INT8: (0, 2**31 - 1),
    Type.FLOAT4: (0.0, 1.5),
    Type.FLOAT8: (-0.0, 1e300),
    Type.TIMESTAMPTZ: (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    Type.DATE: (date(1, 1, 1), date(9999, 12, 31)),
    Type.TIME: (time(0), time(23, 59, 59, 999_999)),
}


def columns(types: Sequence[Type]) -> list[Column]:
    """Columns without fields: enough to write rows of."""
    return [Column(name=f"c{index}", type=type) for index, type in enumerate(types)]


def seeds() -> Iterator[tuple[str, bytes]]:
    """Yields names and inputs of the harness."""
    small = (Type.TEXT, Type.BYTES, Type.UUID)
    plan = Plan.of(descriptor_pb2.FieldDescriptorProto.DESCRIPTOR, [
        Column(name="name", type=Type.TEXT, field="name"), Column(name="number", type=Type.INT8, field="number"),
        Column(name="lazy", type=Type.BOOL, field="options.lazy"), Column(name="other", type=Type.UUID),
    ])  # fmt: skip
    instant = Plan.of(timestamp_pb2.Timestamp.DESCRIPTOR, [Column(name="s", type=Type.INT8, field="seconds")], field=2**29 - 1)
    for framing, (name, kind, types, words) in product(Framing, (
        ("every", EVERY_CODE, EVERY, ()),
        ("small", SMALL, small, ()),
        ("plan", 0, tuple(column.type for column in plan.columns), plan.words),
        ("instant", 0, (Type.INT8,), instant.words),
    )):  # fmt: skip
        head = bytes([kind | framing, 200]) + struct.pack(">H", 60_000)
        if not kind:
            head += bytes([len(words)]) + struct.pack(f"<{len(words)}i", *words)
        end = COPY_TRAILER if framing is Framing.COPY else b""
        low, high = ([VALUES[type][which] for type in types] for which in (0, 1))
        mixed = [None if index % 2 else value for index, value in enumerate(high)]
        yield f"{name}-{framing.name.lower()}-one", head + rows(framing, columns(types), [high])
        yield f"{name}-{framing.name.lower()}", head + rows(framing, columns(types), [low, high, mixed, [None] * len(types)]) + end
        yield f"{name}-{framing.name.lower()}-cut", head + rows(framing, columns(types), [low, high])[:-3]


def main() -> None:
    """Writes all of them anew."""
    for old in FOLDER.iterdir():
        old.unlink()
    for name, data in seeds():
        (FOLDER / name).write_bytes(data)


if __name__ == "__main__":
    main()
