"""The shape of a request: the stations that it names, and the rules that its proto states."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import protovalidate
from google.protobuf.message import Message

from faults import InvalidArgument


def tenants_of(request: Any) -> list[UUID]:
    """The stations that the request names; raises ValueError where one is no UUID."""
    one = getattr(request, "station_id", "")
    return [UUID(text) for text in (*([one] if one else ()), *getattr(request, "station_ids", ()))]


def validate(request: Message) -> None:
    """Raises InvalidArgument with every bad field at once: by the rules in the protos, and for text that Postgres cannot keep."""
    bad = {_path(violation.proto): violation.proto.message for violation in protovalidate.collect_violations(request)}
    if b"\0" in request.SerializeToString():  # hardly ever: numbers rarely have such a byte
        bad |= dict.fromkeys(_with_nul(request, ""), "it holds a NUL character")
    if bad:
        raise InvalidArgument(bad)


def _with_nul(value: Any, path: str) -> Iterator[str]:
    """The fields whose text holds a NUL character."""
    if isinstance(value, str):
        if "\0" in value:
            yield path
    elif isinstance(value, Message):
        for field, content in value.ListFields():
            yield from _with_nul(content, f"{path}.{field.name}" if path else field.name)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for number, element in enumerate(value):
            yield from _with_nul(element, f"{path}[{number}]")


def _path(violation: Any) -> str:
    """The field as people write it: `items[3].station_id`; empty where a rule is about the whole request."""
    parts = []
    for element in violation.field.elements if violation.field else ():
        index = element.subscript
        parts.append(element.field_name if index is None else f"{element.field_name}[{index.value}]")
    return ".".join(parts)
