"""`make audit`, on the stack as it is deployed: what it prints where nobody looks, and its exit code."""

import asyncio
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from local import admin
from local.database import ROOT
from local.stack import Stack
from tests.deployed import IN_CONTAINERS, eventually

SECONDS = 120.0
pytestmark = pytest.mark.skipif(IN_CONTAINERS, reason="of the embedded stack: rows are planted in its database")
SLOT = "INSERT INTO bookings.slots VALUES ($1, date '2030-01-01', '12:00', now(), now(), 2)"
PAYMENT = (
    "INSERT INTO payments.payments (station_id, id, booking_id, customer_id, kind, method, state, amount_minor, currency_code,"
    " created_by_name, version, create_time, update_time) VALUES ($1, $2, $2, $2, 1, 1, 1, 7, 'EUR', '', 1, now(), now())"
)


@pytest.fixture
def described(embedded: Stack) -> Path:
    """Where the stack says how to call it."""
    admin.describe(embedded)
    return embedded.folder / "stack.json"


def make(described: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs what the target of the Makefile runs."""
    return subprocess.run(
        [sys.executable, "-m", "audit", "--stack", str(described), *arguments],
        check=False, cwd=ROOT, env={"PYTHONPATH": "services:libs:protos/python:deploy"}, capture_output=True, text=True,
        timeout=SECONDS,
    )  # fmt: skip


def execute(embedded: Stack, statement: str, *values: object) -> None:
    """Past all triggers and keys, as a restore does."""

    async def run() -> None:
        connection = await asyncpg.connect(embedded.server.url(embedded.database))
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(statement, *values)
        await connection.close()

    asyncio.run(run())


def test_after_a_restore_it_says_what_is_broken_and_repairs_by_rule(embedded: Stack, described: Path) -> None:
    columns = "bookings.slots.station_id payments.payments.booking_id"
    station, booking = uuid4(), uuid4()
    asyncio.run(eventually(lambda: make(described).returncode == 0))  # a stack that has just begun has not heard from everybody yet
    clean = make(described)
    assert (clean.returncode, clean.stderr) == (0, ""), clean.stdout
    assert "7 columns" in clean.stdout
    execute(embedded, SLOT, station)
    execute(embedded, PAYMENT, station, booking)
    try:
        found = make(described, "--columns", columns)
        assert found.returncode == 1, found.stderr
        for said in ("bookings.slots.station_id", str(station), "a repair deletes the rows", str(booking), "for an operator"):
            assert said in found.stdout
        repaired = make(described, "--columns", columns, "--repair")
        assert repaired.returncode == 1
        assert "repaired: 1 rows" in repaired.stdout
        left = make(described, "--columns", columns)
        assert left.returncode == 1
        assert "bookings.slots.station_id\n" not in left.stdout
        assert str(booking) in left.stdout, "RESTRICT stays"
    finally:
        execute(embedded, "DELETE FROM payments.payments WHERE booking_id = $1", booking)
        execute(embedded, "DELETE FROM bookings.slots WHERE station_id = $1", station)
    assert make(described).returncode == 0


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ("payments.payments.customer_id", "payments: the audit did not end: columns[0]: no such column is audited here"),
        ("nothing.at.all", "nothing.at.all: say a service, a table and a column"),
    ],
)
def test_a_column_that_cannot_be_audited_is_named(described: Path, columns: str, says: str) -> None:
    done = make(described, "--columns", columns)
    assert done.returncode == 2
    assert says in done.stdout + done.stderr


def test_without_a_stack_it_says_so(tmp_path: Path) -> None:
    done = make(tmp_path / "stack.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no stack runs here" in done.stderr
