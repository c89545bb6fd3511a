"""What the database of payments refuses by itself, and how it follows what bookings says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from teppan.bookings.v1 import bookings_pb2
from teppan.common.v1 import events_pb2

from dbcommon.database import Database, Transaction
from dbcommon.failures import violated
from dbcommon.feed import Event
from dbcommon.references import Known, KnownRows, Referent
from faults import FeedStale, ReferenceClosed
from local.database import Server
from payments import store
from payments.domain import Account, Kind, Method, NewPayment, Overpaid, Payment, receive, record
from payments.tables import booking_accounts
from payments.wire import heard
from tests.readiness import caught_up

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
EPOCH = uuid4()
TOTAL_MINOR = 55_000


@dataclass
class Stage:
    """The database of payments, a station in it, and a booking of 55,000."""

    app: Database
    platform: Database
    accounts: KnownRows
    station: UUID
    booking: UUID

    async def hears(self, *, version: int, state: Referent = Referent.OPEN, total_minor: int = TOTAL_MINOR) -> None:
        """Applies an event of bookings."""
        message = bookings_pb2.Booking(
            booking_id=str(self.booking), station_id=str(self.station), customer_id=str(uuid4()), currency_code="EUR",
            total_minor=total_minor,
        )  # fmt: skip
        payload = AnyMessage()
        payload.Pack(message)
        event = events_pb2.Event(
            entity_id=str(self.booking), epoch=str(EPOCH), version=version, payload=payload,
            referent_state=state.value,  # type: ignore[arg-type]  # a number of that enum
        )  # fmt: skip
        async with self.platform.transaction() as tx:
            await self.accounts.apply(tx, event)

    async def row(self) -> dict[str, object] | None:
        """The booking's account as it is stored."""
        async with self.platform.transaction(read_only=True) as tx:
            found = await tx.execute("SELECT * FROM payments.booking_accounts WHERE booking_id = :id", {"id": self.booking})
        return dict(found[0]) if found else None

    @asynccontextmanager
    async def own(self) -> AsyncIterator[Transaction]:
        """A transaction of the station."""
        async with self.app.transaction(tenant=self.station) as tx:
            yield tx

    async def take(self, amount_minor: int) -> None:
        """Takes money without asking the rule."""
        async with self.own() as tx:
            before = await store.lock_account(tx, self.station, self.booking)
            payment = paid(self.wanted(amount_minor), before)
            await store.record(tx, payment, before, told(payment))

    async def pay(self, tx: Transaction, amount_minor: int, kind: Kind = Kind.DEPOSIT) -> Payment:
        """Takes money by the rules."""
        before = await store.lock_account(tx, self.station, self.booking)
        wanted = self.wanted(amount_minor, kind)
        payment = paid(wanted, before)
        after = receive(before, wanted)
        await store.record(tx, payment, before, told(payment))
        assert await store.lock_account(tx, self.station, self.booking) == after
        return payment

    def wanted(self, amount_minor: int, kind: Kind = Kind.DEPOSIT) -> NewPayment:
        """A payment that is asked for."""
        return NewPayment(
            station_id=self.station, booking_id=self.booking, kind=kind, method=Method.CASH, amount_minor=amount_minor,
            currency_code="EUR",
        )  # fmt: skip


def told(payment: Payment) -> Event:
    return Event(
        event_id=uuid4(), type="payments.Payment", entity_id=payment.payment_id, tenant=payment.station_id, version=1, payload=b""
    )  # fmt: skip


def paid(wanted: NewPayment, account: Account) -> Payment:
    return record(wanted, account, payment_id=uuid4(), created_by=uuid4(), created_by_name="Ann", now=NOW)


@pytest.fixture
async def unknown(server: Server, database: str) -> AsyncIterator[Stage]:
    """Everything is caught up; the booking is not known here."""
    urls = server.roles("payments", database)
    app, platform = Database(urls["app"], pool_size=4), Database(urls["platform"], pool_size=4)
    accounts = KnownRows(platform, booking_accounts, owner="bookings", type="bookings.Booking", facts=heard.booking_facts)
    stage = Stage(app, platform, accounts, station=uuid4(), booking=uuid4())
    known = "INSERT INTO payments.known_stations (id, epoch, version, state) VALUES (:station, :epoch, 1, 1)"
    async with platform.transaction() as tx:
        for owner in ("identity", "bookings"):
            await tx.execute(caught_up("payments", owner, EPOCH))
        await tx.execute(known, {"station": stage.station, "epoch": EPOCH})
    yield stage
    await app.close()
    await platform.close()


@dataclass(frozen=True)
class Said:
    """An answer of bookings."""

    epoch: UUID
    state: int
    version: int
    facts: AnyMessage


def said(station: UUID) -> Said:
    """A booking of 55,000 is open, at version 1."""
    facts = AnyMessage()
    facts.Pack(
        bookings_pb2.Booking(station_id=str(station), customer_id=str(uuid4()), currency_code="EUR", total_minor=TOTAL_MINOR)
    )
    return Said(EPOCH, Referent.OPEN, 1, facts)


@pytest.fixture
async def stage(unknown: Stage) -> Stage:
    """The booking is known and open, at version 1."""
    await unknown.accounts.store({unknown.booking: said(unknown.station)})
    return unknown


async def test_more_than_is_owed_is_refused_whoever_forgets_the_rule(stage: Stage) -> None:
    async with stage.own() as tx:
        await stage.pay(tx, 50_000)
    with pytest.raises(Overpaid) as refusal:
        await stage.take(5_001)
    assert refusal.value.metadata == {"owed_minor": "5000"}
    await stage.take(5_000)


async def test_a_bare_update_that_overpays_is_refused_by_name(stage: Stage, server: Server, database: str) -> None:
    owner = await asyncpg.connect(server.url(database))
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refusal:
        await owner.execute("UPDATE payments.booking_accounts SET captured_minor = 55001 WHERE booking_id = $1", stage.booking)
    assert violated(refusal.value) == "accounts_not_overpaid"
    await owner.close()


async def test_a_total_below_what_is_paid_is_a_fact_and_then_only_gratuities_are_taken(stage: Stage) -> None:
    async with stage.own() as tx:
        await stage.pay(tx, 50_000)
    await stage.hears(version=2, total_minor=40_000)
    row = await stage.row()
    assert row is not None
    assert (row["total_minor"], row["captured_minor"], row["version"], row["money_version"]) == (40_000, 50_000, 2, 1)
    async with stage.own() as tx:
        await stage.pay(tx, 1_000, Kind.GRATUITY)
    with pytest.raises(Overpaid) as refusal:
        await stage.take(1)
    assert refusal.value.metadata == {"owed_minor": "0"}


async def test_an_event_of_a_booking_unknown_here_is_kept_only_where_it_closes(unknown: Stage) -> None:
    await unknown.hears(version=3)
    assert await unknown.row() is None
    await unknown.hears(version=4, state=Referent.CLOSED)
    row = await unknown.row()
    assert row is not None
    assert (row["state"], row["version"], row["captured_minor"], row["money_version"]) == (Known.CLOSING, 4, 0, 0)
    await unknown.accounts.closing.take_turn()
    row = await unknown.row()
    assert row is not None
    assert (row["state"], row["version"], row["fence"]) == (Known.CLOSED, 4, 1)


async def test_old_news_of_a_booking_change_nothing(stage: Stage) -> None:
    await stage.hears(version=3, total_minor=60_000)
    await stage.hears(version=2, total_minor=50_000)
    await stage.hears(version=3, state=Referent.CLOSED)
    row = await stage.row()
    assert row is not None
    assert (row["total_minor"], row["version"], row["state"]) == (60_000, 3, Known.OPEN)


async def test_no_payment_is_written_for_a_booking_that_closes(stage: Stage) -> None:
    await stage.hears(version=2, state=Referent.CLOSED)
    with pytest.raises(ReferenceClosed) as refusal:
        async with stage.own() as tx:
            await stage.pay(tx, 100)
    assert refusal.value.metadata == {"field": "booking_id", "type": "bookings.Booking"}


async def test_a_payment_under_way_is_seen_by_who_closes(stage: Stage) -> None:
    async with stage.own() as tx:
        await stage.pay(tx, 100)
        # Each in a context of its own: they are somebody else, who holds no transaction.
        closed = asyncio.create_task(stage.hears(version=2, state=Referent.CLOSED), context=Context())
        await asyncio.create_task(waits_for_a_lock(stage), context=Context())
        assert not closed.done()
    await closed
    await stage.accounts.closing.take_turn()
    row = await stage.row()
    assert row is not None
    assert (row["state"], row["captured_minor"]) == (Known.CLOSED, 100)


async def waits_for_a_lock(stage: Stage) -> None:
    """Returns once somebody does."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(5):
        while True:
            async with stage.platform.transaction(read_only=True) as tx:
                if (await tx.execute(waiting)).value():
                    return
            await asyncio.sleep(0.01)


async def test_no_payment_is_written_for_what_is_not_known(unknown: Stage) -> None:
    with pytest.raises(FeedStale) as refusal:
        async with unknown.own() as tx:
            await store.lock_account(tx, unknown.station, unknown.booking)
    assert refusal.value.metadata == {"feed": "bookings"}
    nobodys = some_account(unknown)
    with pytest.raises(FeedStale) as refusal:
        async with unknown.own() as tx:
            await store.record(tx, unpaid := paid(unknown.wanted(100), nobodys), nobodys, told(unpaid))
    assert refusal.value.metadata == {"feed": "bookings"}


def some_account(stage: Stage) -> Account:
    return Account(
        booking_id=stage.booking, station_id=stage.station, customer_id=uuid4(), currency_code="EUR", total_minor=TOTAL_MINOR,
        captured_minor=0, refunded_minor=0, gratuity_minor=0, version=0,
    )  # fmt: skip


@pytest.mark.parametrize("owner", ["identity", "bookings"])
async def test_no_payment_is_written_before_the_feeds_are_caught_up(stage: Stage, owner: str) -> None:
    async with stage.platform.transaction() as tx:
        unready = "UPDATE payments.feed_state SET ready_incarnation = 'another life' WHERE owner = :owner"
        await tx.execute(unready, {"owner": owner})
    with pytest.raises(FeedStale) as refusal:
        async with stage.own() as tx:
            await stage.pay(tx, 100)
    assert refusal.value.metadata == {"feed": owner}


async def test_another_station_neither_sees_nor_pays_a_booking(stage: Stage) -> None:
    other = uuid4()
    async with stage.platform.transaction() as tx:
        known = "INSERT INTO payments.known_stations (id, epoch, version, state) VALUES (:station, :epoch, 1, 1)"
        await tx.execute(known, {"station": other, "epoch": EPOCH})
    async with stage.own() as tx:
        await stage.pay(tx, 100)
    async with stage.app.transaction(tenant=other, read_only=True) as tx:
        for table in ("payments", "booking_accounts", "requests"):
            assert (await tx.execute(f"SELECT count(*) FROM payments.{table}")).value() == 0
        assert [row.id for row in await tx.execute("SELECT id FROM payments.known_stations")] == [other]
    theirs = replace(paid(stage.wanted(100), some_account(stage)), station_id=other)
    with pytest.raises(FeedStale):  # as if the booking were not known: the guard compares the station
        async with stage.app.transaction(tenant=other) as tx:
            await store.record(tx, theirs, some_account(stage), told(theirs))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payments.payments SET amount_minor = 1",
        "DELETE FROM payments.payments",
        "UPDATE payments.booking_accounts SET total_minor = 1000000",
        "UPDATE payments.booking_accounts SET state = 1",
        "UPDATE payments.booking_accounts SET refunded_minor = 1",
        "DELETE FROM payments.booking_accounts",
        "UPDATE payments.known_stations SET state = 1",
        "SELECT * FROM payments.outbox",
        "SELECT * FROM payments.feed_state",
    ],
)
async def test_the_application_may_do_no_more_than_it_needs(stage: Stage, statement: str) -> None:
    with pytest.raises(asyncpg.PostgresError, match="permission denied"):
        async with stage.own() as tx:
            await tx.execute(statement)
