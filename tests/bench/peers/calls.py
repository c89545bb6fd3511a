"""The calls that are measured, prepared: of BookingsService by gRPC, and the same of the FastAPI peer by HTTP."""

import json
from collections.abc import Sequence
from datetime import date
from uuid import UUID, uuid4

from google.type.date_pb2 import Date
from google.type.timeofday_pb2 import TimeOfDay
from teppan.bookings.v1 import bookings_pb2 as pb

from tests.bench.peers import bare
from tests.bench.peers.raw import Call

SERVICE = "/teppan.bookings.v1.BookingsService"
ADULTS, CHILDREN = 4, 2
REQUESTS = "A table at the window, please."


def list_bookings(
    address: str, station: UUID, *, page_size: int, page_limit: int = 0, rows: int, token: str = "", authorization: str = ""
) -> Call:
    """A list; `rows` is how many bookings its answer has. Without a limit, or over HTTP the export, it goes on to the end."""
    request = pb.ListBookingsRequest(station_id=str(station), page_size=page_size, page_limit=page_limit, page_token=token)
    body = request.SerializeToString()
    return Call(address=address, path=f"{SERVICE}/ListBookings", body=body, authorization=authorization, rows=rows)


def get_booking(address: str, station: UUID, booking: UUID, *, authorization: str = "") -> Call:
    """One booking."""
    body = pb.GetBookingRequest(station_id=str(station), booking_id=str(booking)).SerializeToString()
    return Call(address=address, path=f"{SERVICE}/GetBooking", body=body, authorization=authorization)


def create_booking(address: str, *, authorization: str = "") -> Call:
    """Creates, without a body: `create_bodies` are of it."""
    return Call(address=address, path=f"{SERVICE}/CreateBooking", authorization=authorization)


def create_bodies(station: UUID, customers: Sequence[UUID], days: Sequence[date], hours: Sequence[int]) -> tuple[list[bytes], int]:
    """Returns a body for each slot, with one customer after the other, and where in it the `request_id` stands."""
    bodies = []
    for number, (day, hour) in enumerate((day, hour) for day in days for hour in hours):
        request = pb.CreateBookingRequest(
            request_id=str(uuid4()), station_id=str(station), customer_id=str(customers[number % len(customers)]),
            slot_date=Date(year=day.year, month=day.month, day=day.day), slot_start=TimeOfDay(hours=hour),
            guests=pb.Guests(adults=ADULTS, children=CHILDREN), requests=REQUESTS,
        )  # fmt: skip
        bodies.append(request.SerializeToString(deterministic=True))
    return bodies, 2  # the first field: its tag and its length are a byte each


def bare_call(address: str) -> Call:
    """Asks the bare server."""
    return Call(address=address, path=bare.PATH)


def http_list(address: str, station: UUID, *, page_size: int, rows: int, token: str = "") -> Call:
    """A page."""
    following = f"&page_token={token}" if token else ""
    return Call(kind="http", address=address, path=f"/stations/{station}/bookings?page_size={page_size}{following}", rows=rows)


def http_export(address: str, station: UUID, *, page_size: int, rows: int) -> Call:
    """All pages, as lines of JSON."""
    return Call(kind="http", address=address, path=f"/stations/{station}/bookings:export?page_size={page_size}", rows=rows)


def http_get(address: str, station: UUID, booking: UUID) -> Call:
    """One booking."""
    return Call(kind="http", address=address, path=f"/stations/{station}/bookings/{booking}")


def http_create(address: str) -> Call:
    """Creates, without a body: `http_bodies` are of it."""
    return Call(kind="http", address=address, path="/bookings")


def http_bodies(station: UUID, customers: Sequence[UUID], days: Sequence[date], hours: Sequence[int]) -> tuple[list[bytes], int]:
    """As `create_bodies`, in JSON."""
    bodies = []
    for number, (day, hour) in enumerate((day, hour) for day in days for hour in hours):
        wanted = {
            "request_id": str(uuid4()), "station_id": str(station), "customer_id": str(customers[number % len(customers)]),
            "slot_date": str(day), "slot_start": f"{hour:02d}:00", "adults": ADULTS, "children": CHILDREN, "requests": REQUESTS,
        }  # fmt: skip
        bodies.append(json.dumps(wanted).encode())
    return bodies, len('{"request_id": "')
