"""Customers: the people that a station serves."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from faults import AlreadyExists, NotFound


class CustomerNotFound(NotFound):
    """No such customer in that station."""

    reason = "CUSTOMER_NOT_FOUND"


class CustomerEmailTaken(AlreadyExists):
    """Another customer of the station has that email."""

    reason = "CUSTOMER_EMAIL_TAKEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCustomer:
    """What is asked for. Email and phone are normalised: lower case, E.164."""

    station_id: UUID
    name: str
    email: str
    phone: str
    user_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A customer of one station; `phone` is empty where there is none."""

    customer_id: UUID
    station_id: UUID
    name: str
    email: str
    phone: str
    user_id: UUID | None
    version: int
    create_time: datetime
    update_time: datetime


def normalise_email(text: str) -> str:
    """As emails are compared: without surrounding space, in lower case."""
    return text.strip().lower()
