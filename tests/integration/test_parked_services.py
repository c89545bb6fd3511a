"""A poison event among the running services: one booking waits, the business goes on, and an operator mends it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from teppan.bookings.v1 import bookings_pb2 as pb

from dbcommon.references import Known
from local.database import ROOT
from local.stack import PYTHONPATH
from payments.wire import heard
from tests.integration.stage import Teppan, eventually, new, refused

SECONDS = 60.0


@pytest.fixture
async def rows(own: Teppan) -> AsyncIterator[asyncpg.Connection]:
    """Sees everything."""
    connection = await asyncpg.connect(own.server.url(own.database))
    yield connection
    await connection.close()


async def command(teppan: Teppan, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs a command of payments, in a process that has the code as it is in this repository."""
    run = [sys.executable, "-m", "payments", "events", *arguments]
    environ = {**teppan.environ("payments"), "PYTHONPATH": PYTHONPATH, "USER": "ann"}
    return await asyncio.to_thread(
        subprocess.run, run, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=SECONDS
    )


async def poisoned(own: Teppan, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Starts payments anew with a reader that fails on these bookings, and attempts that follow each other at once."""
    poison: set[str] = set()
    read = heard.booking_facts

    def facts(payload: AnyMessage) -> dict[str, Any]:
        booking = pb.Booking()
        payload.Unpack(booking)
        if booking.booking_id in poison:
            raise ValueError(f"nobody can read {booking.booking_id}")
        return read(payload)

    await own.stop("payments")
    monkeypatch.setattr(heard, "booking_facts", facts)
    monkeypatch.setattr("dbcommon.replay.POLL_SECONDS", 0.02)
    monkeypatch.setattr("dbcommon.parked.PAUSE_SECONDS", 0.001)
    await own.start("payments")
    return poison


async def test_a_poison_event_of_a_booking_is_parked_the_others_are_paid_and_a_replay_mends_it(
    own: Teppan, rows: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = await own.station()
    customer = await own.customer(station)
    poison = await poisoned(own, monkeypatch)
    bad = await own.booking(station, customer)
    await eventually(lambda: own.pay(station, bad.booking_id, 1))
    poison.add(bad.booking_id)
    cancel = pb.CancelBookingRequest(
        request_id=new(), station_id=station, booking_id=bad.booking_id, cancelled_by=pb.CANCELLED_BY_STATION
    )
    await own.bookings.CancelBooking(cancel, metadata=own.member(station))

    async def parked() -> None:
        assert await rows.fetchval(
            "SELECT parked_time IS NOT NULL FROM payments.parked_events WHERE entity_id = $1 ORDER BY seq LIMIT 1",
            UUID(bad.booking_id),
        )

    await eventually(parked)
    good = await own.booking(station, customer)
    await own.pay(station, good.booking_id, good.deposit_minor)

    async def confirmed() -> None:
        request = pb.GetBookingRequest(station_id=station, booking_id=good.booking_id)
        assert (await own.bookings.GetBooking(request, metadata=own.member(station))).booking.state == pb.BOOKING_STATE_CONFIRMED

    await eventually(confirmed)
    select = "SELECT state FROM payments.booking_accounts WHERE booking_id = $1"
    assert await rows.fetchval(select, UUID(bad.booking_id)) == Known.OPEN

    listed = await command(own, "list")
    (line,) = listed.stdout.splitlines()
    shown = json.loads(line)
    assert (shown["owner"], shown["type"], shown["entity_id"], shown["station_id"], shown["state"], shown["error"]) == (
        "bookings", "bookings.Booking", bad.booking_id, station, "parked", "ValueError",
    )  # fmt: skip
    replayed = await command(own, "replay", shown["event_id"])
    assert (replayed.returncode, replayed.stderr) == (0, "")
    assert replayed.stdout == f"{shown['event_id']}: applied: {1 + shown['waiting']}\n"

    async def closed() -> None:
        assert await rows.fetchval(select, UUID(bad.booking_id)) == Known.CLOSED

    await eventually(closed)
    assert (await command(own, "list")).stdout == ""
    assert await rows.fetchval("SELECT count(*) FROM payments.parked_events") == 0


async def test_while_an_event_of_a_booking_lies_aside_no_money_is_taken_for_it(own: Teppan, rows: asyncpg.Connection) -> None:
    station = await own.station()
    booking = await own.booking(station, await own.customer(station))
    await own.pay(station, booking.booking_id, 1)
    await own.stop("payments")
    event = (
        "INSERT INTO payments.parked_events (owner, event_id, type, entity_id, epoch, position, version, event, attempts, parked_time)"
        " VALUES ('bookings', $1, 'bookings.Booking', $2, $1, 1, 99, '', 10, now())"
    )
    id = UUID(new())
    await rows.execute(event, id, UUID(booking.booking_id))
    await own.start("payments")

    async def stale() -> None:
        refusal = await refused(own.pay(station, booking.booking_id, 1))
        assert (refusal.reason, refusal.metadata.get("feed")) == ("FEED_STALE", "bookings")
        assert "what bookings says of the" in refusal.message

    await eventually(stale)
    assert (await command(own, "replay", "--all")).returncode == 1
    for wrong in (("drop", str(id)), ("drop", str(id), "--reason", " "), ("replay",), ("replay", "--all", str(id))):
        assert (await command(own, *wrong)).returncode == 2
    dropped = await command(own, "drop", str(id), "--reason", "it was empty")
    assert dropped.returncode == 0
    assert dropped.stdout.startswith(f"{id}: dropped; behind it applied: ")
    assert tuple(await rows.fetchrow("SELECT dropped_by, reason FROM payments.dropped_events")) == ("ann", "it was empty")
    assert (await own.pay(station, booking.booking_id, 1)).amount_minor == 1
    assert (await command(own, "drop", str(id), "--reason", "again")).returncode == 1


async def test_a_schema_that_is_older_than_the_code_is_told_and_not_touched(own: Teppan, rows: asyncpg.Connection) -> None:
    await rows.execute("UPDATE payments.alembic_version SET version_num = '0001'")
    done = await command(own, "list")
    assert done.returncode == 2
    assert "the schema is at 0001" in done.stderr
