"""Bookings and payments on one database, without sockets and without loops: every step of a saga is taken by the test, at its time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from google.protobuf import any_pb2
from teppan.common.v1.events_pb2 import Event

from bookings import tables as bookings_tables
from bookings.domain.bookings import CancelledBy, NewBooking
from bookings.domain.price import Guests
from bookings.domain.slots import SlotKey
from bookings.usecases.bookings import Bookings, Cancellation
from bookings.usecases.deposits import Deposits
from bookings.usecases.referents import TYPES, Referents
from bookings.wire import heard as bookings_heard
from bookings.wire.bookings import event_to_pb
from bookings.workers import Accounts as AccountEvents
from callers import Caller, Kind
from dbcommon.database import Database
from dbcommon.feed import Feed
from dbcommon.inbox import Inbox
from dbcommon.references import KnownRows, References, Registry
from dbcommon.relay import Relay
from dbcommon.requests import Requests
from ids import new_id
from local.database import Server
from payments import tables as payments_tables
from payments.domain import Kind as PaymentKind
from payments.domain import Method, NewPayment
from payments.usecases import Accounts, Payments
from payments.wire import heard as payments_heard
from payments.wire.payments import account_event_to_pb, payment_event_to_pb
from rpccommon.feed import Batch, stored_to_pb
from rpccommon.registry import registry
from tests.integration.watched import connections_of
from tests.readiness import caught_up, columns

ANN = Caller(kind=Kind.USER, subject=str(UUID(int=1)), name="Ann")
KEY = b"k" * 32
DEPOSIT_MINOR = 10_000
BATCH = 500
ROUND = ("bookings_tells", "payments_hears", "payments_tells", "bookings_hears")
"""What happens by itself, in the order in which news travel."""

END = """SELECT b.state, b.paid_minor, b.refund_basis_points, s.taken, a.state AS account, a.captured_minor, a.refund_basis_points AS share,
    a.refund_due_minor, (SELECT count(*) FROM payments.payments p WHERE p.booking_id = b.id) AS payments
  FROM bookings.bookings b JOIN bookings.slots s ON (s.station_id, s.local_date, s.local_start) = (b.station_id, b.slot_date, b.slot_start)
  LEFT JOIN payments.booking_accounts a ON a.booking_id = b.id WHERE b.station_id = $1"""
KNOWN = (
    "INSERT INTO bookings.known_stations (id, epoch, version, state, code, time_zone, currency_code) VALUES ($1, $1, 1, 1, '', 'UTC', 'EUR')",
    "INSERT INTO payments.known_stations (id, epoch, version, state) VALUES ($1, $1, 1, 1)",
    "INSERT INTO bookings.customers (station_id, id, name, email, email_index, version, create_time, update_time) VALUES ($1, $1, '', '', '', 1, now(), now())",
)


@dataclass
class Clock:
    """The time of all use cases."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


class Process:
    """One life of a service: pools of its own, which die with it."""

    def __init__(self, server: Server, database: str, service: str, clock: Clock) -> None:
        urls = server.roles(service, database)
        self.app, self.platform = (Database(urls[kind], pool_size=2) for kind in ("app", "platform"))
        self.service, self.clock = service, clock
        self._connections = [connections_of(each) for each in (self.app, self.platform)]

    async def warm(self) -> None:
        """Connects: a process that is killed meanwhile has done nothing yet."""
        await asyncio.gather(self.app.ping(), self.platform.ping())

    def kill(self) -> None:
        """Cuts all connections: nothing that was not committed can be any more."""
        for connections in self._connections:
            for connection in connections:
                connection.terminate()

    async def end(self) -> None:
        await self.app.close()
        await self.platform.close()

    async def tell(self) -> None:
        """Publishes what was committed."""
        while await Relay(self.platform, self.service, new_id).step():
            pass

    def requests(self, table: Any) -> Requests:
        return Requests(self.app, table, key=KEY)

    async def hear(self, feed: Feed, handlers: dict[str, Any], known: Sequence[KnownRows] = ()) -> None:
        """Applies what the other service published, as one batch, as its consumer would."""
        owner = feed._service
        inbox = Inbox(self.platform, self.service, owner, handlers, Event.SerializeToString, known)
        cursor = await inbox.cursor()
        await inbox.begin()
        head = await feed.head()
        place = (head.epoch, 0) if cursor is None else (UUID(cursor.split("/")[0]), int(cursor.split("/")[1]))
        events, reached = await feed.after(place, types=[], tenants=[], limit=BATCH)
        batch = Batch(
            events=[stored_to_pb(each) for each in events], cursor=f"{reached[0]}/{reached[1]}", complete_until=head.complete_until,
            head=(head.epoch, head.position), position=reached, registered=columns(self.service, owner),
        )  # fmt: skip
        await inbox.apply(batch)


@dataclass
class Saga:
    """One booking, in a station of its own, and what is done about it: each call with one request ID, however often it is sent."""

    station: UUID = field(default_factory=uuid4)
    booking: UUID | None = None
    create_id: UUID = field(default_factory=uuid4)
    pay_id: UUID = field(default_factory=uuid4)
    cancel_id: UUID = field(default_factory=uuid4)


@dataclass
class World:
    """Both services, and a saga."""

    server: Server
    database: str
    outside: asyncpg.Connection
    clock: Clock
    processes: dict[str, Process]
    feeds: dict[str, Feed]
    saga: Saga = field(default_factory=Saga)

    async def begin(self) -> None:
        """Another saga, at another time; the last one is over."""
        self.saga, self.clock.now = Saga(), datetime.now(UTC)
        for statement in KNOWN:
            await self.outside.execute(statement, self.saga.station)

    async def take(self, *steps: str) -> None:
        """Takes steps, each in the process that runs."""
        for step in steps:
            await self.work(step)(self.processes[self.service(step)])

    def service(self, step: str) -> str:
        """Whose step it is."""
        return "payments" if step in {"pay", "pay_little", "payments_hears", "payments_tells"} else "bookings"

    def work(self, step: str) -> Callable[[Process], Awaitable[None]]:
        """A step, to be taken by a process of its service."""
        return getattr(self, f"_{step}")  # type: ignore[no-any-return]  # each of those below

    async def end(self) -> tuple[Any, ...]:
        """What has become of it."""
        return tuple(await self.outside.fetchrow(END, self.saga.station))

    async def version(self) -> int:
        """Of the booking."""
        return int(await self.outside.fetchval("SELECT version FROM bookings.bookings WHERE id = $1", self._booking()))

    # Steps ------------------------------------------------------------------------------------------------------------

    async def _late(self, _: Process) -> None:
        """The deadline passes."""
        self.clock.now += timedelta(hours=25)

    async def _later(self, _: Process) -> None:
        """So much time passes that who waits for an answer asks again."""
        self.clock.now += timedelta(hours=2)

    async def _create(self, process: Process) -> None:
        date = (self.clock.now + timedelta(days=20)).date()
        wanted = NewBooking(
            station_id=self.saga.station, customer_id=self.saga.station, slot=SlotKey(date=date, start=time(12)),
            guests=Guests(adults=10, children=0, infants=0), requests="", override_lead_time=False, validate_only=False,
        )  # fmt: skip
        self.saga.booking = (await self._bookings(process).create(ANN, wanted, request_id=self.saga.create_id)).booking_id

    async def _cancel(self, process: Process) -> None:
        wanted = Cancellation(
            station_id=self.saga.station, booking_id=self._booking(), by=CancelledBy.CUSTOMER, etag="", validate_only=False
        )
        await self._bookings(process).cancel(ANN, wanted, request_id=self.saga.cancel_id)

    async def _sweep(self, process: Process) -> None:
        await self._deposits(process).ask()

    async def _pay(self, process: Process, amount_minor: int = DEPOSIT_MINOR) -> None:
        wanted = NewPayment(
            station_id=self.saga.station, booking_id=self._booking(), kind=PaymentKind.DEPOSIT, method=Method.CASH,
            amount_minor=amount_minor, currency_code="EUR",
        )  # fmt: skip
        await self._payments(process).create(ANN, wanted, request_id=self.saga.pay_id)

    async def _pay_little(self, process: Process) -> None:
        await self._pay(process, DEPOSIT_MINOR - 1)

    async def _bookings_tells(self, process: Process) -> None:
        await process.tell()

    async def _payments_tells(self, process: Process) -> None:
        await process.tell()

    async def _payments_hears(self, process: Process) -> None:
        accounts = self._accounts(process)
        await process.hear(self.feeds["bookings"], {accounts.type: accounts.apply}, [accounts])

    async def _bookings_hears(self, process: Process) -> None:
        events = AccountEvents(deposits=self._deposits(process), read=bookings_heard.account_from_event)
        await process.hear(self.feeds["payments"], {"payments.Account": events.apply})

    # What a `__main__` wires ------------------------------------------------------------------------------------------

    def _booking(self) -> UUID:
        assert self.saga.booking is not None
        return self.saga.booking

    def _bookings(self, process: Process) -> Bookings:
        stations = KnownRows(
            process.platform, bookings_tables.known_stations, owner="identity", type="identity.Station", facts=lambda _: {}
        )
        return Bookings(
            app=process.app, requests=process.requests(bookings_tables.requests_), references=References({stations.type: stations}, {}),
            encode=event_to_pb, reference=lambda: f"TP-{uuid4().hex[:8]}", now=self.clock, new_id=new_id,
        )  # fmt: skip

    def _deposits(self, process: Process) -> Deposits:
        return Deposits(platform=process.platform, encode=event_to_pb, now=self.clock, new_id=new_id)

    def _accounts(self, process: Process) -> KnownRows:
        return KnownRows(
            process.platform, payments_tables.booking_accounts, owner="bookings", type="bookings.Booking",
            facts=payments_heard.booking_facts, closed=Accounts(encode=account_event_to_pb, new_id=new_id).closed,
        )  # fmt: skip

    def _payments(self, process: Process) -> Payments:
        stations = KnownRows(
            process.platform, payments_tables.known_stations, owner="identity", type="identity.Station", facts=lambda _: {}
        )
        known = {each.type: each for each in (stations, self._accounts(process))}
        return Payments(
            app=process.app, requests=process.requests(payments_tables.requests_), references=References(known, {"bookings": self}),
            fresh=lambda: None, encode_payment=payment_event_to_pb, encode_account=account_event_to_pb, now=self.clock,
            new_id=new_id,
        )  # fmt: skip

    async def check(self, type: str, items: Sequence[tuple[UUID | None, UUID]]) -> Sequence[Any]:
        """What payments asks bookings by RPC."""
        platform, feed = self.processes["bookings"].platform, self.feeds["bookings"]
        registered = Registry(platform, "bookings", feed, contract=registry(), types=TYPES)
        owner = Referents(platform=platform, feed=feed, registry=registered, encode=event_to_pb)
        epoch, found = await owner.check(type, items)
        return [
            SimpleNamespace(epoch=epoch, state=each.state, version=each.version, facts=any_pb2.Any.FromString(each.facts or b""))
            for each in found
        ]


@asynccontextmanager
async def world_on(server: Server, database: str) -> AsyncIterator[World]:
    """Both services, caught up with each other and with identity."""
    clock, outside = Clock(datetime.now(UTC)), await asyncpg.connect(server.url(database))
    processes = {service: Process(server, database, service, clock) for service in ("bookings", "payments")}
    feeds = {service: Feed(process.platform, service) for service, process in processes.items()}
    for service in processes:
        await outside.execute(caught_up(service, "identity", uuid4()))
    world = World(server, database, outside, clock, processes, feeds)
    await world.begin()
    for _ in range(2):  # the relays begin their epochs first
        for process in processes.values():
            await process.platform.ping()
            await Relay(process.platform, process.service, new_id).step()
    await world.take("payments_hears", "bookings_hears")
    yield world
    for process in processes.values():
        await process.end()
    await outside.close()
