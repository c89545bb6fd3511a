"""What is due to be given back: the database computes it, whoever changes an account, and as the domain does."""

import random
from uuid import UUID, uuid4

import asyncpg
import pytest

from local.database import Server
from payments.domain import Account

INSERT = """INSERT INTO payments.booking_accounts (booking_id, epoch, version, state, station_id, customer_id, currency_code,
  total_minor, captured_minor, refunded_minor, refund_basis_points) VALUES ($1, $1, 1, 3, $1, $1, 'EUR', $2, $2, $3, $4)
  RETURNING refund_due_minor, refund_due_time IS NOT NULL"""
TOTAL_MAX = 10**11


def due(captured: int, refunded: int, share: int | None) -> int:
    nobody = UUID(int=0)
    return Account(
        booking_id=nobody, station_id=nobody, customer_id=nobody, currency_code="EUR", total_minor=captured,
        captured_minor=captured, refunded_minor=refunded, gratuity_minor=0, version=0, refund_basis_points=share,
    ).refund_due_minor  # fmt: skip


async def test_the_trigger_computes_what_the_domain_computes(server: Server, database: str) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    rows = await asyncpg.connect(server.url(database))
    for _ in range(300):
        captured = chance.choice([0, 1, 3, 10_000, chance.randrange(TOTAL_MAX)])
        refunded = chance.randrange(captured + 1)
        share = chance.choice([None, 0, 1, 5_000, 10_000, chance.randrange(10_001)])
        expected = due(captured, refunded, share)
        found = await rows.fetchrow(INSERT, uuid4(), captured, refunded, share)
        assert tuple(found) == (expected, expected > 0), f"seed {seed}: {captured}, {refunded}, {share}"
    await rows.close()


async def test_every_change_of_its_terms_changes_what_is_due_and_none_forgets_since_when(server: Server, database: str) -> None:
    rows = await asyncpg.connect(server.url(database))
    booking = uuid4()
    await rows.fetchrow(INSERT, booking, 10_000, 0, None)
    since = None
    for change, expected in (
        ("refund_basis_points = 5000", 5_000),
        ("captured_minor = 4001", 2_001),
        ("refunded_minor = 2000", 1),
        ("refunded_minor = 2001", 0),
        ("refund_basis_points = 10000", 2_000),
        ("refund_due_minor = 7", 2_000),
        ("refund_basis_points = NULL", 0),
    ):
        update = f"UPDATE payments.booking_accounts SET {change} WHERE booking_id = $1 RETURNING refund_due_minor, refund_due_time"
        found = await rows.fetchrow(update, booking)
        assert found["refund_due_minor"] == expected, change
        assert (found["refund_due_time"] is not None) is (expected > 0)
        assert since is None or found["refund_due_time"] in {None, since}
        since = found["refund_due_time"]
    await rows.close()


async def test_the_application_cannot_say_what_is_due(server: Server, database: str) -> None:
    app = await asyncpg.connect(server.url(database, "payments_app"))
    for column in ("refund_due_minor = 0", "refund_due_time = now()", "refund_basis_points = 0"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(f"UPDATE payments.booking_accounts SET {column}")
    await app.close()


@pytest.mark.parametrize("role", ["payments_app", "payments_platform"])
async def test_no_role_of_the_service_moves_a_sum(server: Server, database: str, role: str) -> None:
    rows = await asyncpg.connect(server.url(database, role))
    for column in ("captured_minor", "refunded_minor", "gratuity_minor", "refund_due_minor", "refund_due_time"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await rows.execute(f"UPDATE payments.booking_accounts SET {column} = NULL")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await rows.fetchrow(INSERT, uuid4(), 1, 0, None)
    await rows.close()
