"""Who there is: three stations in three time zones, members of each role, customers, and a schedule at the main station."""

import secrets
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from google.type.date_pb2 import Date
from google.type.timeofday_pb2 import TimeOfDay
from teppan.bookings.v1 import bookings_pb2, customers_pb2, slots_pb2
from teppan.common.v1 import options_pb2
from teppan.identity.v1 import memberships_pb2, stations_pb2, tokens_pb2, users_pb2

from demo.calls import Backend, new_id

PLACES = (
    ("BER1", "Berlin Mitte", "Europe/Berlin", "EUR"),
    ("NYC1", "Hudson Yards", "America/New_York", "USD"),
    ("TYO1", "Ginza", "Asia/Tokyo", "JPY"),
)
ROLES = ("viewer", "agent", "manager", "admin")
SLOTS_A_DAY = 12
CAPACITY = 6
FIRST_DAY = 4
"""Days ahead by UTC's date: a booking is made at least 48 hours before its start, and a station's day begins up to 14 hours earlier."""
CUSTOMERS = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A station, and who can be booked for there."""

    station_id: str
    name: str
    currency_code: str
    customers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that the demo plays with. Tokens by role are for the first place."""

    admin: str
    tokens: dict[str, str]
    places: tuple[Place, ...]

    @property
    def main(self) -> Place:
        """The station that most happens at."""
        return self.places[0]


async def build(backend: Backend, admin: str) -> Scene:
    """Makes it all, through gRPC."""
    places = []
    for code, name, zone, currency in PLACES:
        request = stations_pb2.CreateStationRequest(
            request_id=new_id(), code=code, name=name, time_zone=zone, currency_code=currency
        )
        station = (await backend.call("stations.CreateStation", request, admin)).station
        customers = [await customer(backend, admin, station.station_id, n) for n in range(CUSTOMERS)]
        places.append(Place(station_id=station.station_id, name=name, currency_code=currency, customers=tuple(customers)))
    main = places[0].station_id
    tokens = {role: await _member(backend, admin, main, role) for role in ROLES}
    await backend.call("slots.UpdateSchedule", week(main), tokens["manager"])
    return Scene(admin=admin, tokens=tokens, places=tuple(places))


async def customer(backend: Backend, token: str, station_id: str, number: int) -> str:
    """Makes a customer; their ID."""
    request = customers_pb2.CreateCustomerRequest(
        request_id=new_id(), station_id=station_id, name=f"Guest {number}", email=f"guest{number}@example.com"
    )
    return str((await backend.call("customers.CreateCustomer", request, token)).customer.customer_id)


async def _member(backend: Backend, admin: str, station_id: str, role: str) -> str:
    """Makes a user with a role in a station, and logs in as them; their token."""
    password, email = secrets.token_urlsafe(12), f"{role}@example.com"
    new = users_pb2.CreateUserRequest(request_id=new_id(), name=role.title(), email=email, password=password)
    user = (await backend.call("users.CreateUser", new, admin)).user
    number = options_pb2.Role.Value(f"ROLE_{role.upper()}")
    member = memberships_pb2.AddMemberRequest(request_id=new_id(), station_id=station_id, user_id=user.user_id, role=number)
    await backend.call("members.AddMember", member, admin)
    login = tokens_pb2.LoginRequest(email=email, password=password)
    return str((await backend.call("tokens.Login", login)).access_token)


def week(station_id: str) -> slots_pb2.UpdateScheduleRequest:
    """Twelve slots of six, each day, from midnight on."""
    hours = 24 // SLOTS_A_DAY
    slots = [
        slots_pb2.ScheduledSlot(
            weekday=weekday,
            start=TimeOfDay(hours=n * hours),
            length_minutes=hours * 60,
            capacity=CAPACITY,
        )
        for weekday in range(1, 8)
        for n in range(SLOTS_A_DAY)
    ]
    return slots_pb2.UpdateScheduleRequest(request_id=new_id(), station_id=station_id, slots=slots)


def booking(place: Place, day: date, start: time, number: int) -> bookings_pb2.CreateBookingRequest:
    """A request for a place in a slot."""
    return bookings_pb2.CreateBookingRequest(
        request_id=new_id(),
        station_id=place.station_id,
        customer_id=place.customers[number % len(place.customers)],
        slot_date=date_pb(day),
        slot_start=TimeOfDay(hours=start.hour, minutes=start.minute),
        guests=bookings_pb2.Guests(adults=2 + number % 9, children=number % 3),
    )


def date_pb(day: date) -> Date:
    """A date, as the contract has it."""
    return Date(year=day.year, month=day.month, day=day.day)


def day(ahead: int) -> date:
    """A date, so many days from now."""
    return datetime.now(UTC).date() + timedelta(days=ahead)
