"""What was done twice, lost, or sold beyond its capacity is found by what the chaos counts in the end."""

import json
import secrets
from collections.abc import AsyncIterator
from datetime import time
from uuid import UUID, uuid4

import asyncpg
import pytest
from demo.calls import Backend
from demo.scene import Scene, booking, day
from teppan.bookings.v1 import bookings_pb2

from local.stack import Stack
from tests.deployed import IN_CONTAINERS, eventually
from tests.faults import once
from tests.faults.once import Asked, marked
from tests.traffic import deposit, own_station

pytestmark = pytest.mark.skipif(IN_CONTAINERS, reason="of the embedded stack: its database is written to")
STATION = "Counted"
COPY = "INSERT INTO {0} SELECT (jsonb_populate_record(NULL::{0}, to_jsonb(r) || $1::jsonb)).* FROM {0} r WHERE id = $2"


@pytest.fixture
async def behind(embedded: Stack) -> AsyncIterator[asyncpg.Connection]:
    """A session in which no trigger fires, and nothing that it does stays."""
    connection = await asyncpg.connect(embedded.server.url(embedded.database))
    transaction = connection.transaction()
    await connection.execute("SET session_replication_role = replica")
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


async def done(backend: Backend, cast: Scene, rows: asyncpg.Connection) -> list[Asked]:
    """A booking that was made and paid."""
    scene = await own_station(backend, cast, STATION)
    asked = [Asked(method="bookings.CreateBooking", request=marked("requests", booking(scene.main, day(30), time(12), 0)))]
    made = (await backend.call(asked[0].method, asked[0].request, cast.admin)).booking
    asked[0].made = made.booking_id
    asked.append(Asked(method="payments.CreatePayment", request=deposit(made)))
    asked[1].made = (await backend.call(asked[1].method, asked[1].request, cast.admin)).payment.payment_id
    paid = "SELECT paid_minor > 0 FROM bookings.bookings WHERE id = $1"
    await eventually(lambda: rows.fetchval(paid, UUID(made.booking_id)))
    return asked


async def test_what_was_done_twice_or_is_gone_is_found(
    rows: asyncpg.Connection, behind: asyncpg.Connection, backend: Backend, cast: Scene
) -> None:
    asked = await done(backend, cast, rows)
    booked, paid = (UUID(each.made) for each in asked)
    cancelled = Asked(method="bookings.CancelBooking", request=None, made=str(booked))
    assert not await once.miscounted(behind, asked)
    assert not await once.overfull(behind, STATION)
    assert not await once.disagreeing_money(behind, STATION)
    assert await once.not_cancelled(behind, [cancelled]) == [booked]
    await behind.execute(COPY.format("payments.payments"), json.dumps({"id": str(uuid4())}), paid)
    assert len(await once.miscounted(behind, asked)) == 1
    assert len(await once.disagreeing_money(behind, STATION)) == 1
    twice = {"id": str(uuid4()), "reference": secrets.token_hex(6)}
    await behind.execute(COPY.format("bookings.bookings"), json.dumps(twice), booked)
    assert len(await once.miscounted(behind, asked)) == 2
    assert len(await once.overfull(behind, STATION)) == 1, "there is one more than was counted"
    await behind.execute(
        "UPDATE bookings.slots SET taken = 2, capacity = 1 WHERE station_id = $1", UUID(asked[0].request.station_id)
    )
    assert len(await once.overfull(behind, STATION)) == 1, "there is one more than may be"
    await behind.execute("DELETE FROM bookings.bookings WHERE requests = $1", asked[0].mark)
    assert [] in (await once.miscounted(behind, asked)).values()


def test_an_answer_that_changes_is_found() -> None:
    request = marked("request_id", bookings_pb2.CancelBookingRequest())
    made = bookings_pb2.CancelBookingResponse(booking=bookings_pb2.Booking(booking_id=str(uuid4())))
    other = bookings_pb2.CancelBookingResponse(booking=bookings_pb2.Booking(booking_id=str(uuid4())))
    asked = Asked(method="bookings.CancelBooking", request=request)
    assert not asked.note(None, refused=False)
    assert asked.open
    assert not asked.note(made, refused=False)
    assert not asked.note(made, refused=False)
    assert asked.note(other, refused=False)
    assert asked.note(None, refused=True)
    refused = Asked(method="bookings.CancelBooking", request=request)
    assert not refused.note(None, refused=True)
    assert refused.note(made, refused=False)
