"""The shape of a request: its bytes, the stations that it names, and the rules that its proto states."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol
from uuid import UUID

import protovalidate
from google.protobuf.message import DecodeError, Message

from faults import BodyInvalid, InvalidArgument, RequestTooLarge
from ids import parsed
from rpccommon.bounds import Bound, bounds_of, cut, exceeded

REQUEST_BYTES_MAX = 64 * 1024
"""Of a method whose policy says nothing else."""


class Parse(Protocol):
    """A message's FromString."""

    def __call__(self, raw: bytes, /) -> Any:
        """Raises DecodeError."""


class Shape:
    """What a method's requests must be like."""

    def __init__(self, parse: Parse, *, bytes_max: int = 0) -> None:
        """Takes what parses the method's requests; `bytes_max` is the method's own limit, where it has one."""
        self._parse = parse
        self._bytes_max = bytes_max or REQUEST_BYTES_MAX
        message = parse(b"").DESCRIPTOR
        self._bounds: Sequence[Bound] = bounds_of(message)
        self._one, self._several = "station_id" in message.fields_by_name, "station_ids" in message.fields_by_name

    def parse(self, raw: bytes) -> Any:
        """Returns the request, whose every field is within its bounds. Raises RequestTooLarge, BodyInvalid, InvalidArgument."""
        if len(raw) > self._bytes_max:
            raise RequestTooLarge(
                f"the request has {len(raw)} bytes, and at most {self._bytes_max} are allowed",
                bytes=len(raw),
                limit=self._bytes_max,
            )
        try:
            request = self._parse(raw)
        except (DecodeError, UnicodeDecodeError) as error:
            raise BodyInvalid("the request's bytes are not a message of the method's type") from error
        if excess := exceeded(request, self._bounds):
            cut(request)  # nobody uses it any more, and a copy of all that is too much would cost more than to parse it
            raise InvalidArgument(_violations(request) | excess)  # whatever else is wrong, so that it is mended at once
        return request

    def tenants(self, request: Any) -> list[UUID]:
        """Returns the stations that a request names. Raises InvalidArgument with every bad field where one is no UUID."""
        try:
            named = [parsed(request.station_id)] if self._one and request.station_id else []
            return [*named, *map(parsed, request.station_ids)] if self._several else named
        except ValueError as error:
            validate(request)  # names every bad field, this one among them
            raise InvalidArgument({"station_id": "it must be a UUID"}) from error


def validate(request: Message, raw: bytes | None = None) -> None:
    """Raises InvalidArgument with every bad field: by the rules in the protos, and for text that Postgres cannot keep.

    `raw` is the request as it was sent, where that is known. Of a repeated field only the first elements are named.
    """
    nul = b"\0" in (request.SerializeToString() if raw is None else raw)  # hardly ever: numbers rarely have such a byte
    if not protovalidate.collect_violations(request, fail_fast=True) and not (nul and any(_with_nul(request, ""))):
        return
    bad = _violations(_few(request))
    if not bad:  # what is wrong stands behind the elements that were looked at
        bad = _violations(request, fail_fast=True) or {next(_with_nul(request, "")): NUL}
    raise InvalidArgument(bad)


def _few(request: Message) -> Message:
    """A copy with only the first elements of each repeated field."""
    few = type(request)()
    few.CopyFrom(request)
    cut(few)
    return few


NUL = "it holds a NUL character"


def _violations(request: Message, *, fail_fast: bool = False) -> dict[str, str]:
    found = protovalidate.collect_violations(request, fail_fast=fail_fast)
    bad = {_path(violation.proto): violation.proto.message for violation in found}
    return bad if fail_fast else bad | dict.fromkeys(_with_nul(request, ""), NUL)


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
