"""Values that messages of several services hold."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

import names
from faults import InvalidArgument

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def instant_from_pb(message: Timestamp, field: str) -> datetime:
    """An instant, to the microsecond that Postgres keeps; raises InvalidArgument."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument({field: "no such time"}) from error


def bound_from_pb(message: Timestamp, field: str) -> datetime:
    """A bound of a range, as instants of whole microseconds are compared with it: rounded up. Raises InvalidArgument."""
    instant = instant_from_pb(message, field)
    return instant + _MICROSECOND if message.nanos % 1_000 and instant < _LAST else instant


def set_instant(message: Timestamp, instant: datetime) -> None:
    """Writes an instant in place: a third of the price of `FromDatetime`, and exact to the microsecond."""
    message.seconds, message.nanos = instant_parts(instant)


def instant_parts(instant: datetime) -> tuple[int, int]:
    """Seconds since 1970 and nanoseconds of an aware datetime, in integers only."""
    since = instant - _EPOCH
    return since.days * 86_400 + since.seconds, since.microseconds * 1_000


def packed(message: Message) -> bytes:
    """A message as a serialised Any, the same bytes for the same message."""
    wrapper = AnyMessage()
    wrapper.Pack(message, deterministic=True)
    return wrapper.SerializeToString(deterministic=True)


def name_from_pb(text: str, field: str) -> str:
    """A name, in NFC; raises InvalidArgument."""
    name = names.normalised(text)
    if (problem := names.problem(name)) is not None:
        raise InvalidArgument({field: problem})
    return name


def all_of(*reads: Callable[[], Any]) -> list[Any]:
    """What each of them gives; raises one InvalidArgument with every field that any of them names."""
    values, bad = [], {}
    for read in reads:
        try:
            values.append(read())
        except InvalidArgument as wrong:
            bad.update(wrong.fields)
    if bad:
        raise InvalidArgument(bad)
    return values


def optional_id(text: str) -> UUID | None:
    """An ID, or None for an empty field."""
    return UUID(text) if text else None
