"""Dates and local times."""

from collections.abc import Callable
from datetime import date, time
from typing import Any

from google.type.date_pb2 import Date
from google.type.timeofday_pb2 import TimeOfDay

from faults import InvalidArgument


def date_from_pb(message: Date, field: str) -> date:
    """A whole date; raises InvalidArgument."""
    try:
        return date(message.year, message.month, message.day)
    except ValueError as error:
        raise InvalidArgument({field: f"no such date: {error}"}) from error


def time_from_pb(message: TimeOfDay, field: str) -> time:
    """A time to the minute; raises InvalidArgument."""
    if message.seconds or message.nanos:
        raise InvalidArgument({field: "slots start at a whole minute"})
    try:
        return time(message.hours, message.minutes)
    except ValueError as error:
        raise InvalidArgument({field: f"no such time: {error}"}) from error


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
