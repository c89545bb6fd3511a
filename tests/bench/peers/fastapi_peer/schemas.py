"""What goes in and out as JSON."""

from datetime import date, datetime, time
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class LineOut(BaseModel):
    """A line of a price."""

    model_config = ConfigDict(from_attributes=True)

    kind: str
    quantity: int
    unit_minor: int
    amount_minor: int


class BookingOut(BaseModel):
    """A booking as lists show it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    station_id: UUID
    reference: str
    customer_id: UUID
    state: int
    slot_date: date
    slot_start: time
    start_time: datetime
    end_time: datetime
    time_zone: str
    adults: int
    children: int
    infants: int
    currency_code: str
    total_minor: int
    deposit_minor: int
    paid_minor: int
    policy_version: int
    deposit_deadline_time: datetime
    created_by: UUID | None
    created_by_name: str
    confirm_time: datetime | None
    cancel_time: datetime | None
    cancelled_by: int | None
    refund_basis_points: int | None
    version: int
    create_time: datetime
    update_time: datetime


class WholeBookingOut(BookingOut):
    """A booking with everything."""

    requests: str
    price_lines: list[LineOut]


class PageOut(BaseModel):
    """A page of a list; without a token it is the last one."""

    bookings: list[BookingOut]
    next_page_token: str | None


class BookingIn(BaseModel):
    """What is asked for."""

    request_id: UUID
    station_id: UUID
    customer_id: UUID
    slot_date: date
    slot_start: time
    adults: int = Field(ge=0, le=50)
    children: int = Field(default=0, ge=0, le=50)
    infants: int = Field(default=0, ge=0, le=50)
    requests: str = Field(default="", max_length=500)
