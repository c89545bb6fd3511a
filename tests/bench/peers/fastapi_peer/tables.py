"""The tables of the schema bookings that this peer uses, as SQLAlchemy's ORM maps them."""

from datetime import date, datetime, time
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, ForeignKeyConstraint, Identity, LargeBinary, SmallInteger
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """Of all tables."""

    __table_args__: object = {"schema": "bookings"}
    type_annotation_map = {datetime: DateTime(timezone=True), bytes: LargeBinary}  # noqa: RUF012  # SQLAlchemy reads it so


class Request(Base):
    """A request as it can be recognised again."""

    __tablename__ = "requests"

    station_id: Mapped[UUID] = mapped_column(primary_key=True)
    caller: Mapped[str] = mapped_column(primary_key=True)
    method: Mapped[str] = mapped_column(primary_key=True)
    request_id: Mapped[UUID] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    made_id: Mapped[UUID | None]


class Station(Base):
    """What is known of a station."""

    __tablename__ = "known_stations"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[int] = mapped_column(SmallInteger)
    time_zone: Mapped[str]
    currency_code: Mapped[str]


class Customer(Base):
    """A customer of a station; what is private is not read."""

    __tablename__ = "customers"

    station_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)


class ScheduleSlot(Base):
    """A slot of a station's week."""

    __tablename__ = "schedule_slots"

    station_id: Mapped[UUID] = mapped_column(primary_key=True)
    weekday: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    local_start: Mapped[time] = mapped_column(primary_key=True)
    length_minutes: Mapped[int] = mapped_column(SmallInteger)
    capacity: Mapped[int] = mapped_column(SmallInteger)


class Slot(Base):
    """A slot that somebody took a place in."""

    __tablename__ = "slots"

    station_id: Mapped[UUID] = mapped_column(primary_key=True)
    local_date: Mapped[date] = mapped_column(primary_key=True)
    local_start: Mapped[time] = mapped_column(primary_key=True)
    start_time: Mapped[datetime]
    end_time: Mapped[datetime]
    capacity: Mapped[int] = mapped_column(SmallInteger)
    taken: Mapped[int] = mapped_column(SmallInteger, default=0)


class PriceLine(Base):
    """A line of a booking's price."""

    __tablename__ = "price_lines"
    __table_args__ = (
        ForeignKeyConstraint(["station_id", "booking_id"], ["bookings.bookings.station_id", "bookings.bookings.id"]),
        {"schema": "bookings"},
    )

    station_id: Mapped[UUID] = mapped_column(primary_key=True)
    booking_id: Mapped[UUID] = mapped_column(primary_key=True)
    line: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    kind: Mapped[str]
    quantity: Mapped[int]
    unit_minor: Mapped[int] = mapped_column(BigInteger)
    amount_minor: Mapped[int] = mapped_column(BigInteger)


class Booking(Base):
    """A booking; its lines are loaded only where somebody asks for them."""

    __tablename__ = "bookings"

    station_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    reference: Mapped[str]
    customer_id: Mapped[UUID]
    state: Mapped[int] = mapped_column(SmallInteger)
    slot_date: Mapped[date]
    slot_start: Mapped[time]
    start_time: Mapped[datetime]
    end_time: Mapped[datetime]
    time_zone: Mapped[str]
    adults: Mapped[int] = mapped_column(SmallInteger)
    children: Mapped[int] = mapped_column(SmallInteger)
    infants: Mapped[int] = mapped_column(SmallInteger)
    currency_code: Mapped[str]
    total_minor: Mapped[int] = mapped_column(BigInteger)
    deposit_minor: Mapped[int] = mapped_column(BigInteger)
    paid_minor: Mapped[int] = mapped_column(BigInteger, default=0)
    policy_version: Mapped[int]
    requests: Mapped[str] = mapped_column(deferred=True)
    deposit_deadline_time: Mapped[datetime]
    created_by: Mapped[UUID | None]
    created_by_name: Mapped[str]
    confirm_time: Mapped[datetime | None]
    cancel_time: Mapped[datetime | None]
    cancelled_by: Mapped[int | None] = mapped_column(SmallInteger)
    refund_basis_points: Mapped[int | None]
    version: Mapped[int] = mapped_column(BigInteger, default=1)
    create_time: Mapped[datetime]
    update_time: Mapped[datetime]
    price_lines: Mapped[list[PriceLine]] = relationship(lazy="raise", order_by=PriceLine.line)


class Outbox(Base):
    """What others are to be told."""

    __tablename__ = "outbox"

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    event_id: Mapped[UUID]
    type: Mapped[str]
    entity_id: Mapped[UUID]
    station_id: Mapped[UUID]
    version: Mapped[int] = mapped_column(BigInteger)
    referent_state: Mapped[int] = mapped_column(SmallInteger)
    payload: Mapped[bytes]
