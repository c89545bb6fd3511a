"""Accounts that close are reported to bookings in the transaction that closes them, many at once."""

from uuid import UUID, uuid4

import asyncpg
from google.protobuf.any_pb2 import Any as AnyMessage
from teppan.payments.v1 import payments_pb2

from dbcommon.database import Database
from dbcommon.references import Known, KnownRows
from ids import new_id
from local.database import Server
from payments.tables import booking_accounts
from payments.usecases import Accounts
from payments.wire import heard
from payments.wire.payments import account_event_to_pb

EPOCH, COUNT = uuid4(), 700
"""More than one batch."""


async def test_all_accounts_that_close_are_reported_each_once(server: Server, database: str, outside: asyncpg.Connection) -> None:
    platform = Database(server.url(database, "payments_platform"), pool_size=2)
    accounts = KnownRows(
        platform, booking_accounts, owner="bookings", type="bookings.Booking", facts=heard.booking_facts,
        closed=Accounts(encode=account_event_to_pb, new_id=new_id).closed,
    )  # fmt: skip
    bookings, station = [new_id() for _ in range(COUNT)], uuid4()
    await outside.executemany(
        "INSERT INTO payments.booking_accounts (booking_id, epoch, version, state, station_id, customer_id, currency_code,"
        f" total_minor, captured_minor, money_version) VALUES ($1, $2, 7, {Known.CLOSING:d}, $3, $3, 'EUR', 5000, $4, 3)",
        [(booking, EPOCH, station, number) for number, booking in enumerate(bookings)],
    )
    await accounts.closing.take_turn()
    rows = await outside.fetch("SELECT entity_id, station_id, version, payload FROM payments.outbox ORDER BY seq")
    told: dict[UUID, payments_pb2.Account] = {}
    for row in rows:
        assert (row["station_id"], row["version"]) == (station, 4)
        account = payments_pb2.Account()
        assert AnyMessage.FromString(row["payload"]).Unpack(account)
        told[row["entity_id"]] = account
    assert len(rows) == COUNT
    assert {booking: account.captured_minor for booking, account in told.items()} == {b: n for n, b in enumerate(bookings)}
    assert {(account.booking_epoch, account.booking_version) for account in told.values()} == {(str(EPOCH), 7)}
    assert await outside.fetchval(f"SELECT count(*) FROM payments.booking_accounts WHERE state <> {Known.CLOSED:d}") == 0
    await accounts.closing.take_turn()
    assert await outside.fetchval("SELECT count(*) FROM payments.outbox") == COUNT
    await platform.close()
