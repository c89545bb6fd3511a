"""The shape of a request: the stations that it names, and the rules that its proto states."""

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
    """Raises InvalidArgument with every bad field at once, by the rules in the protos."""
    if violations := protovalidate.collect_violations(request):
        raise InvalidArgument({_path(violation.proto): violation.proto.message for violation in violations})


def _path(violation: Any) -> str:
    """The field as people write it: `items[3].station_id`; empty where a rule is about the whole request."""
    parts = []
    for element in violation.field.elements if violation.field else ():
        index = element.subscript
        parts.append(element.field_name if index is None else f"{element.field_name}[{index.value}]")
    return ".".join(parts)
