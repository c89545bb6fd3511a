"""Dates and local times."""

from datetime import date, time

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
