"""`make sagas`, and what becomes of sagas when real processes are killed in the middle of them: on the embedded stack."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import time
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from demo.calls import Backend, new_id
from demo.scene import Scene, booking, day
from teppan.bookings.v1 import bookings_pb2

from local.database import SERVICES
from local.stack import Stack
from tests.deployed import IN_CONTAINERS, Deployment, eventually
from tests.e2e.test_parked import make
from tests.traffic import deposit, own_station

pytestmark = pytest.mark.skipif(IN_CONTAINERS, reason="of the embedded stack: deadlines are moved in its database")

CONFIRMED, CANCELLED, EXPIRED = (
    bookings_pb2.BOOKING_STATE_CONFIRMED, bookings_pb2.BOOKING_STATE_CANCELLED, bookings_pb2.BOOKING_STATE_EXPIRED,
)  # fmt: skip
LITTLE = 600
ALL = 10_000
STEPS = ("create", "pay", "cancel", "expire")
CASES = [(service, step) for service in SERVICES for step in STEPS]
SLICE = 2
SLOTS = 12
END = """SELECT b.state, b.paid_minor, b.refund_basis_points, a.state, a.captured_minor, a.refund_due_minor
  FROM bookings.bookings b LEFT JOIN payments.booking_accounts a ON a.booking_id = b.id WHERE b.id = $1"""
CLOSED = 3


class Sagas:
    """Bookings of a station of their own, one after the other."""

    def __init__(self, running: Deployment, backend: Backend, scene: Scene, rows: asyncpg.Connection) -> None:
        self._running, self._backend, self._scene, self._rows = running, backend, scene, rows
        self._numbers: Iterator[int] = iter(range(1_000))
        self.made = bookings_pb2.Booking()

    async def run(self, *steps: str, end: tuple[Any, ...], dies: str = "", at: str = "") -> None:
        """Takes steps, at one of which a process is killed, and waits for the end."""
        for step in steps:
            killing = asyncio.create_task(self._running.kill(dies)) if step == at else None
            await getattr(self, f"_{step}")()
            if killing is not None:
                await killing
        await self.becomes(end)

    async def becomes(self, end: tuple[Any, ...]) -> None:
        """Waits until both services agree that it ended so."""

        async def ended() -> bool:
            return tuple(await self._rows.fetchrow(END, UUID(self.made.booking_id)) or ()) == end

        await eventually(ended)

    async def _create(self) -> None:
        number = next(self._numbers)
        wanted = booking(self._scene.main, day(60 + number // SLOTS), time(number % SLOTS * 2), number)
        self.made = (await self._call("bookings.CreateBooking", wanted)).booking

    async def _pay(self) -> None:
        await self._call("payments.CreatePayment", deposit(self.made))

    async def _pay_little(self) -> None:
        wanted = deposit(self.made)
        wanted.amount_minor = LITTLE
        await self._call("payments.CreatePayment", wanted)

    async def _cancel(self) -> None:
        wanted = bookings_pb2.CancelBookingRequest(
            request_id=new_id(), station_id=self.made.station_id, booking_id=self.made.booking_id,
            cancelled_by=bookings_pb2.CANCELLED_BY_CUSTOMER,
        )  # fmt: skip
        await self._call("bookings.CancelBooking", wanted)

    async def _expire(self) -> None:
        late = "UPDATE bookings.bookings SET deposit_deadline_time = now() WHERE id = $1"
        await self._rows.execute(late, UUID(self.made.booking_id))

    async def _call(self, method: str, request: Any) -> Any:
        return await self._backend.call(method, request, self._scene.admin)


@pytest.fixture
async def sagas(embedded: Stack, running: Deployment, backend: Backend, cast: Scene) -> AsyncIterator[Sagas]:
    """A station for these."""
    rows = await asyncpg.connect(embedded.server.url(embedded.database))
    yield Sagas(running, backend, await own_station(backend, cast, "Sagas"), rows)
    await rows.close()


async def whole(sagas: Sagas, dies: str = "", at: str = "") -> None:
    """One of each end; at one of the steps a process is killed."""
    deposit_minor = 10_000
    if at != "expire":
        cancelled = (CANCELLED, deposit_minor, ALL, CLOSED, deposit_minor, deposit_minor)
        await sagas.run("create", "pay", "cancel", end=cancelled, dies=dies, at=at)
    if at in {"", "expire"}:
        await sagas.run("create", "expire", end=(EXPIRED, 0, ALL, CLOSED, 0, 0), dies=dies, at=at)
        await sagas.run("create", "pay_little", "expire", end=(EXPIRED, LITTLE, ALL, CLOSED, LITTLE, LITTLE), dies=dies, at=at)


async def test_sagas_end_and_what_is_due_is_in_the_table(embedded: Stack, sagas: Sagas) -> None:
    await whole(sagas)
    done = await asyncio.to_thread(make, embedded, "sagas")
    assert (done.returncode, done.stderr) == (0, "")
    for shown in ("payments: refund_due", sagas.made.booking_id, f"station {sagas.made.station_id}", "it is due, not stuck"):
        assert shown in done.stdout
    assert (await asyncio.to_thread(make, embedded, "sagas", "--service", "identity")).stdout == "Every saga has ended.\n"


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_some_kills_of_real_processes_change_no_end(sagas: Sagas, tell: Callable[[str], None]) -> None:
    seed = random.randrange(10**6)
    cases = random.Random(seed).sample(CASES, SLICE)
    tell(f"sagas: killed {', '.join(f'{service} at {step}' for service, step in cases)}; seed {seed}")
    for service, step in cases:
        await whole(sagas, service, step)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("service", "step"), CASES)
async def test_no_kill_of_a_real_process_changes_an_end(sagas: Sagas, service: str, step: str) -> None:
    await whole(sagas, service, step)
