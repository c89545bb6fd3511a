"""What right answers are: rows of the database, written by Teppan's own code into the messages that a peer has to send."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any
from uuid import UUID

import asyncpg
from google.protobuf.message import Message
from teppan.bookings.v1 import bookings_pb2 as pb

from bookings.store.listing import COLUMNS, NAMES
from bookings.wire.bookings import fill
from tests.bench.peers.calls import ADULTS, CHILDREN, REQUESTS

LINE = ("kind", "quantity", "unit_minor", "amount_minor")
READ_BACK: Mapping[type, Any] = {
    UUID: UUID,
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,  # after datetime, which is one too
    time: time.fromisoformat,
}
"""From JSON; of a column's type or what it descends from."""


class Wrong(Exception):
    """An answer is not what the database has; the sentence says where they differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """A station's list as it was read once; checks raise Wrong. Creates make it stale."""

    station: UUID
    count: int
    """Of all its bookings."""
    rows: Sequence[Any]
    """The first of them, in the order of the list."""
    lines: Mapping[UUID, Sequence[Any]]
    """Of those rows, by booking."""

    @classmethod
    async def read(cls, url: str, station: UUID, *, first: int = 2_000) -> "Answers":
        """Reads as a role that sees all rows."""
        connection = await asyncpg.connect(url)
        try:
            listed = f"SELECT {COLUMNS}, requests FROM bookings.bookings WHERE station_id = $1 ORDER BY start_time DESC, id DESC LIMIT {first}"
            rows = await connection.fetch(listed, station)
            count = await connection.fetchval("SELECT count(*) FROM bookings.bookings WHERE station_id = $1", station)
            of_them = "SELECT * FROM bookings.price_lines WHERE station_id = $1 AND booking_id = ANY($2) ORDER BY line"
            lines: dict[UUID, list[Any]] = {row["id"]: [] for row in rows}
            for line in await connection.fetch(of_them, station, list(lines)):
                lines[line["booking_id"]].append(line)
        finally:
            await connection.close()
        return cls(station=station, count=count, rows=rows, lines=lines)

    def first(self, bookings: int) -> "Pages":
        """Returns the check of a list that ends after so many, in pages of any size."""
        return Pages(self, min(bookings, self.count))

    def whole(self) -> "Pages":
        """Returns the check of a list to its end."""
        return Pages(self, self.count)

    def booking(self, row: Any) -> "One":
        """Returns the check of GetBooking."""
        return One(self, row)


@dataclass(frozen=True, slots=True)
class Pages:
    """A list, by gRPC in messages or by HTTP as a page or lines of JSON."""

    of: Answers
    bookings: int

    def grpc(self, messages: Sequence[bytes]) -> None:
        """Compares all fields of the first rows; counts the others, of which none may come twice."""
        pages = [pb.ListBookingsResponse.FromString(message) for message in messages]
        found = [booking for page in pages for booking in page.bookings]
        for booking, row in zip(found, self.of.rows, strict=False):
            _same(booking, _message(row))
        self._counted([booking.booking_id for booking in found])
        if not all(page.next_page_token for page in pages[:-1]) or (pages[-1].next_page_token == "") != (
            self.bookings == self.of.count
        ):
            raise Wrong("only the last page of all has no token")

    def http(self, bodies: Sequence[bytes]) -> None:
        """The same."""
        [body] = bodies
        page = body.startswith(b'{"bookings":')
        found = json.loads(body)["bookings"] if page else [json.loads(line) for line in body.splitlines()]
        for shown, row in zip(found, self.of.rows, strict=False):
            _same_json(shown, row)
        self._counted([each["id"] for each in found])

    def _counted(self, ids: Sequence[str]) -> None:
        if len(ids) != self.bookings or len(set(ids)) != len(ids):
            raise Wrong(f"the list has {len(ids)} bookings, {len(set(ids))} of them once: not {self.bookings}")


@dataclass(frozen=True, slots=True)
class One:
    """One booking, with price lines and requests."""

    of: Answers
    row: Any

    def grpc(self, messages: Sequence[bytes]) -> None:
        """Compares all fields."""
        [message] = messages
        wanted = _message(self.row)
        wanted.requests = self.row["requests"]
        for line in self.of.lines[self.row["id"]]:
            wanted.price_lines.add(**{name: line[name] for name in LINE})
        _same(pb.GetBookingResponse.FromString(message).booking, wanted)

    def http(self, bodies: Sequence[bytes]) -> None:
        """The same."""
        [body] = bodies
        shown = json.loads(body)
        _same_json(shown, self.row)
        if shown["price_lines"] != [{name: line[name] for name in LINE} for line in self.of.lines[self.row["id"]]]:
            raise Wrong(f"its price lines are {shown['price_lines']}")


def created(messages: Sequence[bytes]) -> None:
    """Checks the answer to a create of `calls.create_bodies`."""
    [message] = messages
    booking = pb.CreateBookingResponse.FromString(message).booking
    guests = (booking.guests.adults, booking.guests.children)
    lines = sum(line.amount_minor for line in booking.price_lines)
    if (booking.state, guests, booking.requests) != (
        pb.BOOKING_STATE_PENDING,
        (ADULTS, CHILDREN),
        REQUESTS,
    ) or not lines == booking.total_minor > 0:
        raise Wrong(f"a booking was made otherwise than asked for: {booking}")


def created_http(bodies: Sequence[bytes]) -> None:
    """Likewise of `calls.http_bodies`."""
    [body] = bodies
    shown = json.loads(body)
    lines = sum(line["amount_minor"] for line in shown["price_lines"])
    guests = (shown["adults"], shown["children"])
    if (shown["state"], guests, shown["requests"]) != (2, (ADULTS, CHILDREN), REQUESTS) or not lines == shown["total_minor"] > 0:
        raise Wrong(f"a booking was made otherwise than asked for: {shown}")


def _message(row: Any) -> pb.Booking:
    message = pb.Booking()
    fill(message, row)
    return message


def _same(found: Message, wanted: Message) -> None:
    if found != wanted:
        raise Wrong(f"found {found}, wanted {wanted}")


def _same_json(shown: Mapping[str, Any], row: Any) -> None:
    for name in NAMES:
        wanted = row[name]
        read = next((read for kind, read in READ_BACK.items() if isinstance(wanted, kind)), lambda value: value)
        if read(shown[name]) != wanted:
            raise Wrong(f"{name} is {shown[name]}, not {wanted}")
