"""How many elements and characters a request may have, checked before anything looks at each of them.

The limits are those that the rules in the protos state (`max_items`, `max_pairs`, `max_len`, `max_bytes`). A rule of protovalidate that
looks at elements runs over all of them even where there are too many, and names each; here each field costs one comparison.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

NAMED_MAX = 16
"""As many elements of a repeated field are looked at where something is wrong: a caller mends a kind of mistake, not each instance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The limit of one field, and those of the fields inside of it."""

    field: str
    most: int | None
    what: str
    """What is counted: "items", "pairs", "characters", "bytes"."""
    inside: "Sequence[Bound]" = ()
    repeated: bool = False


def bounds_of(message: Descriptor, *, within: frozenset[str] = frozenset()) -> Sequence[Bound]:
    """Returns the bounds of a type's fields, those of nested types included; a type within itself has none of its own there."""
    within |= {message.full_name}
    found = []
    for field in message.fields:
        nested = field.message_type
        is_map = nested is not None and nested.GetOptions().map_entry
        inside = () if nested is None or is_map or nested.full_name in within else bounds_of(nested, within=within)
        most, what = _limit(field)
        if most is not None or inside:
            found.append(Bound(field=field.name, most=most, what=what, inside=inside, repeated=field.is_repeated))
    return found


def exceeded(message: Message, bounds: Sequence[Bound]) -> dict[str, str]:
    """Returns a sentence for each field that has more than it may, by its path."""
    return dict(_exceeded(message, bounds, "")) if bounds else {}


def _exceeded(message: Any, bounds: Sequence[Bound], prefix: str) -> Iterator[tuple[str, str]]:
    for bound in bounds:
        value, path = getattr(message, bound.field), f"{prefix}{bound.field}"
        if bound.most is not None and len(value) > bound.most:
            yield path, f"it has {len(value)} {bound.what}, and at most {bound.most} are allowed"
        elif bound.inside and bound.repeated:
            for number, element in enumerate(value):
                yield from _exceeded(element, bound.inside, f"{path}[{number}].")
        elif bound.inside:
            yield from _exceeded(value, bound.inside, f"{path}.")


def cut(message: Message) -> None:
    """Cuts every repeated field and every map, at any depth, to NAMED_MAX elements in place."""
    for field, value in message.ListFields():
        if field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in list(value)[NAMED_MAX:]:
                del value[key]
        elif field.is_repeated:
            del value[NAMED_MAX:]
            if field.message_type is not None:
                for element in value:
                    cut(element)
        elif field.message_type is not None:
            cut(value)


def _limit(field: FieldDescriptor) -> tuple[int | None, str]:
    """The most that a field may have, by its rules."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    kind = rules.WhichOneof("type")
    if kind == "repeated" and rules.repeated.HasField("max_items"):
        return rules.repeated.max_items, "items"
    if kind == "map" and rules.map.HasField("max_pairs"):
        return rules.map.max_pairs, "pairs"
    if kind == "string" and rules.string.HasField("max_len"):
        return rules.string.max_len, "characters"
    if kind == "bytes" and rules.bytes.HasField("max_len"):
        return rules.bytes.max_len, "bytes"
    return None, ""
