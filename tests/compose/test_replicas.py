"""Two replicas of each service share the questions of others; one of them at a time does the work that must be done once."""

import asyncio
from datetime import time
from pathlib import Path

import pytest
from demo.calls import Backend
from demo.scene import Scene, booking, customer, day
from teppan.bookings.v1 import bookings_pb2

from compose.stack import Composed, engine
from local.database import SERVICES
from tests.compose.inside import calls, certified, inspect, sql
from tests.deployed import eventually, healthy
from tests.traffic import deposit, new_station, state_of

STATIONS = 20
TAKEOVER_SECONDS = 10.0
LEADERS = (
    "SELECT a.usename, host(a.client_addr) FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
    "WHERE l.locktype = 'advisory' AND l.granted AND a.usename LIKE '%_platform'"
)


def leader(stack: Composed, service: str) -> str:
    """The container that works for a service's schema; empty where there is none."""
    network = f"{stack.project}_{service}-database"
    networks = {container: inspect(container)["NetworkSettings"]["Networks"] for container in stack.containers(service)}
    addresses = {has[network]["IPAddress"]: container for container, has in networks.items() if network in has}
    found = [line.split("|")[1] for line in sql(stack, LEADERS) if line.startswith(f"{service}_platform|")]
    assert len(found) <= 1, f"more than one works for {service}"
    return addresses.get(found[0], "") if found else ""


async def test_services_share_their_questions_among_replicas(
    composed: Composed, backend: Backend, cast: Scene, tmp_path: Path
) -> None:
    """What a service asks another goes past Envoy: its own client knows both replicas."""
    own, method = certified(composed, tmp_path), "/teppan.common.v1.ReferencesService/CheckReferences"
    before = await asyncio.to_thread(calls, composed, "identity", own, method)

    async def ask() -> None:
        station = await new_station(backend, cast.admin, "S")
        await customer(backend, cast.admin, station, 0)  # bookings has not heard of the station, perhaps, and asks

    async def both_were_asked() -> bool:
        await asyncio.gather(*(ask() for _ in range(STATIONS)))
        after = await asyncio.to_thread(calls, composed, "identity", own, method)
        return all(now > then for now, then in zip(after, before, strict=True))

    await eventually(both_were_asked)


class Killed:
    """A process that dies: its connections close."""

    def __init__(self, stack: Composed, service: str, container: str) -> None:
        self.container, self.network = container, f"{stack.project}_{service}-database"

    def end(self) -> None:
        engine("kill", self.container)

    def mend(self) -> None:
        engine("start", self.container)


class Frozen(Killed):
    """One that neither goes on nor dies."""

    def end(self) -> None:
        engine("pause", self.container)

    def mend(self) -> None:
        engine("unpause", self.container)


class Lost(Killed):
    """One whose machine is gone without a word."""

    def end(self) -> None:
        engine("network", "disconnect", self.network, self.container)
        engine("kill", self.container)

    def mend(self) -> None:
        engine("network", "connect", self.network, self.container)
        engine("start", self.container)


@pytest.mark.parametrize(
    ("service", "end"),
    [*((service, Killed) for service in SERVICES), ("bookings", Frozen), ("payments", Lost)],
)
async def test_one_replica_works_for_a_schema_and_another_takes_over_when_it_ends(
    composed: Composed, backend: Backend, cast: Scene, service: str, end: type[Killed]
) -> None:
    first = ""

    def elected() -> str:
        nonlocal first
        first = leader(composed, service)
        return first

    await eventually(lambda: asyncio.to_thread(elected))
    ending = end(composed, service, first)
    others = [container for container in composed.containers(service) if container != first]
    await asyncio.to_thread(ending.end)
    try:
        async with asyncio.timeout(TAKEOVER_SECONDS):
            while await asyncio.to_thread(leader, composed, service) not in others:
                await asyncio.sleep(0.1)
        made = (await backend.call("bookings.CreateBooking", booking(cast.main, day(61), time(10), 1), cast.admin)).booking
        await backend.call("payments.CreatePayment", deposit(made), cast.admin)

        async def confirmed() -> bool:
            state = await state_of(backend, cast.admin, made.station_id, made.booking_id)
            return state == bookings_pb2.BOOKING_STATE_CONFIRMED

        async with asyncio.timeout(TAKEOVER_SECONDS):
            await eventually(confirmed)
    finally:
        await asyncio.to_thread(ending.mend)
        await eventually(lambda: asyncio.to_thread(healthy, first))
