"""The create whose price is asked: the statements of `bookings.store`, as a script of pgbench.

A client in Python would cost several times what the statements cost the server, and hide the difference. So the store is asked once
what it says, and pgbench says it from then on, with a booking's ID, station, customer and slot made anew each time.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from bookings.domain.bookings import Booking, State
from bookings.domain.price import Guests, Line
from bookings.domain.slots import Slot, SlotKey
from bookings.store.bookings import insert_booking
from dbcommon.database import Transaction
from dbcommon.feed import Event
from dbcommon.statements import arguments, compiled

DAY = date(2030, 1, 1)
START = datetime(2030, 1, 1, 12, tzinfo=UTC)
STATION, CUSTOMER, BOOKING = uuid4(), uuid4(), uuid4()
REFERENCE = "TP-BENCH"
SLOT_START = time(12, 34, 56)
ID_OF = "lpad(to_hex({}::bigint), 32, '0')::uuid"
"""A UUID made of a number, in SQL."""
MADE_ANEW = {
    str(STATION): ID_OF.format(":station"),
    str(CUSTOMER): ID_OF.format("(:client_id + 1)"),
    str(BOOKING): ID_OF.format(":booking"),
    REFERENCE: "'TP-' || :booking",
    str(SLOT_START): "make_time(:client_id::int, :minute, 0)",
}
"""What stands in a script for the literals of the booking that the store was asked about; customer and slots are the client's own."""
SLOTS = 15
"""Of each client in each station: none has room for all bookings of a fast machine's rounds."""


class PgbenchFails(Exception):
    """It ended otherwise than it should; the message has what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What pgbench saw."""

    transactions: int
    per_second: float


class _Recorder:
    """Stands for a transaction, and notes what it is told to execute."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    async def execute(self, sql: str, parameters: Mapping[str, Any]) -> None:
        statement, names = compiled(sql)
        for number, value in reversed(list(enumerate(arguments(names, parameters), 1))):
            statement = statement.replace(f"${number}", literal(value))
        self.statements.append(" ".join(statement.split()))


def literal(value: Any) -> str:
    """A parameter as it stands in SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return f"ARRAY[{', '.join(map(literal, value))}]"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    return str(value) if isinstance(value, int) else f"'{value}'"


async def script(stations: int) -> str:
    """A transaction that makes a booking in one of so many stations, numbered from 1 on."""
    recorder = _Recorder()
    event = Event(event_id=BOOKING, type="bookings.Booking", entity_id=BOOKING, tenant=STATION, version=1, payload=b"")
    await insert_booking(cast("Transaction", recorder), _booking(), _slot(), event)
    inserts = [_made_anew(statement) for statement in recorder.statements]
    tenant = f"SELECT set_config('teppan.station_id', ({ID_OF.format(':station')})::text, true)"
    numbers = [
        f"\\set station random(1, {stations})",
        f"\\set minute random(0, {SLOTS - 1})",
        f"\\set booking random(1, {2**63 - 1})",
    ]
    return "\n".join([*numbers, "BEGIN;", f"{tenant};", *(f"{insert};" for insert in inserts), "COMMIT;", ""])


async def run(pgbench: Path, url: str, file: Path, *, clients: int, amount: Mapping[str, int]) -> Rate:
    """Runs a script; `amount` is pgbench's own: `{"--time": 1}` or `{"--transactions": 10}` for each client. Raises PgbenchFails."""
    limits = [f"{option}={value}" for option, value in amount.items()]
    options = ["--no-vacuum", "--protocol=prepared", f"--client={clients}", "--jobs=1", *limits, f"--file={file}", url]
    child = await asyncio.create_subprocess_exec(pgbench, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    output, errors = (each.decode() for each in await child.communicate())
    done, failed = re.search(r"actually processed: (\d+)", output), re.search(r"failed transactions: (\d+)", output)
    rate = re.search(r"^tps = ([\d.]+)", output, re.MULTILINE)
    if child.returncode or not (done and rate) or (failed and failed[1] != "0"):
        raise PgbenchFails(f"pgbench ended with {child.returncode}: {output}{errors}")
    return Rate(transactions=int(done[1]), per_second=float(rate[1]))


def _made_anew(statement: str) -> str:
    for literal, expression in MADE_ANEW.items():
        statement = statement.replace(f"'{literal}'", expression)
    return statement


def _slot() -> Slot:
    return Slot(key=SlotKey(date=DAY, start=SLOT_START), start_time=START, end_time=START + timedelta(hours=1), capacity=1)


def _booking() -> Booking:
    slot = _slot()
    return Booking(
        booking_id=BOOKING, station_id=STATION, reference=REFERENCE, customer_id=CUSTOMER, state=State.PENDING, slot=slot.key,
        start_time=slot.start_time, end_time=slot.end_time, time_zone="Europe/Berlin", currency_code="EUR",
        guests=Guests(adults=2, children=1, infants=0), total_minor=7_000, deposit_minor=2_000, paid_minor=0,
        lines=(Line(kind="adult", quantity=2, unit_minor=3_000), Line(kind="child", quantity=1, unit_minor=1_000)),
        policy_version=1, requests="", deposit_deadline_time=START, created_by=None, created_by_name="Ann", confirm_time=None,
        cancel_time=None, cancelled_by=None, refund_basis_points=None, version=1, create_time=START, update_time=START,
    )  # fmt: skip
