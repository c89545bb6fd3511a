"""Calls through PgBouncer, in both of the modes that are supported; the election and signals go past it, to PostgreSQL itself."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.type.timeofday_pb2 import TimeOfDay
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.common.v1 import events_pb2
from teppan.payments.v1 import payments_pb2

from dbcommon.wakes import News, Wakes
from local.database import SERVICES, Server
from settings import SettingsWrong
from tests.deployed import eventually
from tests.integration.moving import until
from tests.integration.pooler import BINARY, CALLS, DIRECT, SESSIONS, Pooled, pooled_on
from tests.integration.stage import Metadata, Teppan, booking_request, caught_up, day, new, payment_request, refused

pytestmark = pytest.mark.skipif(BINARY is None, reason="there is no PgBouncer here: install Debian's package `pgbouncer`")

BOOKINGS, PAGE_SIZE, SLOTS_A_DAY = 7, 2, 4
ROUNDS = 20
ABANDONED_SECONDS = 0.02
"""The longest that a call runs before its client cancels it."""
SECONDS = 30.0


@pytest.fixture(scope="module", params=[("session", "on"), ("transaction", "off")], ids=["session", "transaction"])
async def pooled(
    request: pytest.FixtureRequest, server: Server, template: str, tmp_path_factory: pytest.TempPathFactory, pg: str
) -> AsyncIterator[Pooled]:
    """Three services that run, and are caught up with each other; without statements that are kept where a pooler shares sessions."""
    mode, prepared = request.param
    secrets = tmp_path_factory.mktemp("secrets")
    async with pooled_on(server, template, secrets, version=pg, mode=mode, prepared=prepared) as made:
        await made.start(*SERVICES)
        await caught_up(made)
        yield made


@dataclass(frozen=True)
class Tenant:
    """A station, and what it alone may see."""

    teppan: Teppan
    station: str
    customer: str
    bookings: Sequence[str]

    @property
    def who(self) -> Metadata:
        return self.teppan.member(self.station)

    async def booking(self, booking_id: str) -> pb.Booking:
        request = pb.GetBookingRequest(station_id=self.station, booking_id=booking_id)
        answer: pb.GetBookingResponse = await self.teppan.bookings.GetBooking(request, metadata=self.who)
        return answer.booking

    def list(self) -> Any:
        """The call of its list, of which all pages but the first come by COPY."""
        request = pb.ListBookingsRequest(station_id=self.station, page_size=PAGE_SIZE, order_by=pb.BOOKING_ORDER_START_TIME_ASC)
        return self.teppan.bookings.ListBookings(request, metadata=self.who)

    async def pages(self) -> Sequence[pb.ListBookingsResponse]:
        return [page async for page in self.list()]


async def tenant(teppan: Teppan) -> Tenant:
    """A new station with a customer and bookings."""
    station = await teppan.station()
    await teppan.week(station, slots_a_day=SLOTS_A_DAY, capacity=1)
    customer = await teppan.customer(station)
    bookings = []
    for number in range(BOOKINGS):
        days, slot = divmod(number, SLOTS_A_DAY)
        start = TimeOfDay(hours=slot * 24 // SLOTS_A_DAY)
        bookings.append((await teppan.booking(station, customer, date=day(10 + days), slot_start=start)).booking_id)
    return Tenant(teppan, station, customer, bookings)


async def test_every_kind_of_call_works(pooled: Pooled) -> None:
    made = await tenant(pooled)
    station, who, booking_id = made.station, pooled.member(made.station), made.bookings[0]
    request = payment_request(station, booking_id, 10_000)
    paid = (await pooled.payments.CreatePayment(request, metadata=who)).payment
    assert (await pooled.payments.CreatePayment(request, metadata=who)).payment == paid  # the answer that was kept
    get = payments_pb2.GetPaymentRequest(station_id=station, payment_id=paid.payment_id)
    assert (await pooled.payments.GetPayment(get, metadata=who)).payment == paid

    async def confirmed() -> bool:
        return bool((await made.booking(booking_id)).state == pb.BOOKING_STATE_CONFIRMED)

    await eventually(confirmed)
    cancel = pb.CancelBookingRequest(
        request_id=new(), station_id=station, booking_id=booking_id, cancelled_by=pb.CANCELLED_BY_STATION
    )
    assert (await pooled.bookings.CancelBooking(cancel, metadata=who)).booking.state == pb.BOOKING_STATE_CANCELLED
    pages = await made.pages()
    assert [len(page.bookings) for page in pages] == [2, 2, 2, 1]
    assert [booking.booking_id for page in pages for booking in page.bookings] == made.bookings
    taken = booking_request(station, made.customer, date=day(11), slot_start=TimeOfDay(hours=0))
    assert (await refused(pooled.bookings.CreateBooking(taken, metadata=who))).reason == "SLOT_FULL"


async def test_two_stations_that_share_sessions_see_nothing_of_each_other(pooled: Pooled) -> None:
    pair = [await tenant(pooled) for _ in range(2)]
    asked = [
        call(mine, theirs)
        for call in (own_booking, foreign_booking, foreign_customer, own_list, abandoned_list)
        for mine, theirs in (pair, reversed(pair))
        for _ in range(ROUNDS)
    ]
    random.shuffle(asked)
    await asyncio.gather(*asked)


async def own_booking(mine: Tenant, _: Tenant) -> None:
    chosen = random.choice(mine.bookings)
    found = await mine.booking(chosen)
    assert (found.station_id, found.booking_id) == (mine.station, chosen)


async def foreign_booking(mine: Tenant, theirs: Tenant) -> None:
    request = pb.GetBookingRequest(station_id=mine.station, booking_id=random.choice(theirs.bookings))
    assert (await refused(mine.teppan.bookings.GetBooking(request, metadata=mine.who))).reason == "BOOKING_NOT_FOUND"


async def foreign_customer(mine: Tenant, theirs: Tenant) -> None:
    request = booking_request(mine.station, theirs.customer)
    assert (await refused(mine.teppan.bookings.CreateBooking(request, metadata=mine.who))).reason == "CUSTOMER_NOT_FOUND"


async def own_list(mine: Tenant, _: Tenant) -> None:
    found = [(booking.station_id, booking.booking_id) for page in await mine.pages() for booking in page.bookings]
    assert found == [(mine.station, booking_id) for booking_id in mine.bookings]


async def abandoned_list(mine: Tenant, _: Tenant) -> None:
    """Cancels a list at any point of it; its session serves the other calls afterwards."""
    call = mine.list()
    await asyncio.sleep(random.uniform(0, ABANDONED_SECONDS))
    call.cancel()


async def test_events_arrive_and_signals_go_past_the_pooler(pooled: Pooled) -> None:
    follow = pooled.events("bookings").StreamEvents(
        events_pb2.StreamEventsRequest(latest=True), metadata=pooled.service("payments")
    )
    await follow.read()
    replica = Wakes(pooled.direct_url("bookings", "replica"), "bookings")
    listening = asyncio.create_task(replica.run())

    async def listens() -> bool:
        return ("bookings_platform", "replica") in await pooled.sessions(f"LISTEN%{News.EVENTS}%")

    try:
        await eventually(listens)
        station = await pooled.station()
        booking = await pooled.booking(station, await pooled.customer(station))
        async with asyncio.timeout(SECONDS):
            await replica.wait(News.EVENTS, 2 * SECONDS)
            while booking.booking_id not in {event.entity_id for event in (await follow.read()).events}:
                pass
    finally:
        follow.cancel()
        listening.cancel()
        await asyncio.wait({listening})


async def test_pgbouncer_serves_the_calls_and_not_the_election(pooled: Pooled) -> None:
    await tenant(pooled)

    async def sessions_are_named() -> bool:
        """PgBouncer names a session when a client first uses it, and not when it is opened."""
        sessions = await pooled.sessions()
        assert {name for role, name in sessions if role.endswith("_app")} == {CALLS}
        assert {role for role, name in sessions if name == DIRECT} == {f"{service}_platform" for service in SERVICES}
        return max(count for (_, name), count in sessions.items() if name == CALLS) <= SESSIONS[pooled.mode]

    await until(sessions_are_named)
    pools = {pool["user"]: pool["pool_mode"] for pool in pooled.pooler.show("POOLS") if pool["database"] == pooled.database}
    assert pools == {f"{service}_{kind}": pooled.mode for service in SERVICES for kind in ("app", "platform")}
    [served] = [int(row["total_xact_count"]) for row in pooled.pooler.show("STATS") if row["database"] == pooled.database]
    assert served > BOOKINGS


async def test_statements_that_shared_sessions_would_lose_are_refused_at_the_start(
    server: Server, template: str, tmp_path: Path, pg: str
) -> None:  # fmt: skip
    async with pooled_on(server, template, tmp_path, version=pg, mode="transaction", prepared="on") as made:
        with pytest.raises(SettingsWrong) as refusal:
            await made.start("bookings")
    first, second = str(refusal.value).splitlines()
    assert "TEPPAN_DATABASE_APP_URL leads to a pooler that shares sessions" in first
    assert "TEPPAN_DATABASE_PLATFORM_URL leads to a pooler that shares sessions" in second
    assert "set TEPPAN_DATABASE_PREPARED=off" in first


@pytest.mark.parametrize(
    ("mode", "prepared", "ignored"),
    [("session", "on", ""), ("transaction", "off", ""), ("transaction", "off", "idle_session_timeout")],
)
async def test_an_election_through_a_pooler_is_refused_at_the_start(
    server: Server, template: str, tmp_path: Path, pg: str, monkeypatch: pytest.MonkeyPatch, mode: str, prepared: str, ignored: str
) -> None:
    monkeypatch.setattr(Pooled, "direct_url", lambda *_: "")
    async with pooled_on(
        server, template, tmp_path, version=pg, mode=mode, prepared=prepared, ignore_startup_parameters=ignored
    ) as made:
        with pytest.raises(SettingsWrong, match=r"^TEPPAN_DATABASE_PLATFORM_URL leads to a pooler: set TEPPAN_DATABASE_DIRECT_URL"):
            await made.start("bookings")
