"""Every service is restarted under load: through the client, no call fails."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from demo import load
from demo.calls import Backend
from demo.scene import Scene
from teppan.bookings.v1 import bookings_pb2
from teppan.client import aio

from compose.stack import Composed
from local.database import SERVICES
from tests.compose.inside import address, certified
from tests.deployed import IN_CONTAINERS, Containers, Deployment, eventually
from tests.subscriber import Subscriber
from tests.traffic import Seen, Traffic, Way, own_station, state_of

MORE = 8_000
"""More bookings than can be made meanwhile."""
ALLOWED = {"OK", "UNAVAILABLE"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [10_000 if IN_CONTAINERS else 1_000, pytest.param(10_001, marks=pytest.mark.long)])
async def test_a_rolling_restart_of_everything_fails_no_call_through_the_client(
    running: Deployment,
    known: Mapping[str, str],
    backend: Backend,
    cast: Scene,
    count: int,
    tmp_path: Path,
    tell: Callable[[str], None],
) -> None:
    scene = await own_station(backend, cast, "Restarts")
    requests = await load.wanted(backend, scene, count + MORE)
    made = await load.book(backend, scene.admin, requests[:count], lambda: None)
    full = [each.booking_id for each in sorted(made, key=lambda each: (each.start_time.ToNanoseconds(), each.booking_id))]
    tls = aio.Tls.from_files(ca=known["ca"]) if "ca" in known else None
    ways = {service: Way(addresses=[known[service]], tls=tls) for service in SERVICES}
    past_envoy = ways if not isinstance(running, Containers) else direct(running.stack, tmp_path)
    todo = iter(requests[count:])
    bearer = running.service_token("payments").bearer
    async with Subscriber(ways["bookings"], bearer) as subscriber, Subscriber(past_envoy["bookings"], bearer) as second:
        async with (
            Traffic(ways, scene, todo, full, bare=IN_CONTAINERS) as traffic,
            Traffic(past_envoy, scene, todo, full) as other,
        ):
            for service in SERVICES:
                lists = [traffic.seen.lists, other.seen.lists]
                await running.restart(service)
                await eventually(lambda lists=lists: traffic.seen.lists > lists[0] and other.seen.lists > lists[1])  # type: ignore[misc]  # bound here
        booked = {booking.booking_id for each in (traffic, other) for booking in each.seen.made.values()}
        for each in (subscriber, second):
            await eventually(lambda each=each: booked <= each.entities)  # type: ignore[misc]  # bound here
            assert each.breaks
    for seen in (traffic.seen, other.seen):
        await expect(seen, backend, scene)
        tell(f"restarted under load: {seen.figures()}")
    codes = {code for _, code, _ in traffic.seen.bare}
    assert codes <= ALLOWED, traffic.seen.bare
    assert not IN_CONTAINERS or "OK" in codes


def direct(stack: Composed, folder: Path) -> dict[str, Way]:
    """Past Envoy, to all replicas, with a certificate of the stack's authority."""
    own = certified(stack, folder)
    return {
        service: Way(
            addresses=[address(stack, service, container) for container in stack.containers(service)],
            tls=aio.Tls(ca=own.ca, certificate=own.certificate, key=own.key, server_name=service),
        )
        for service in SERVICES
    }


async def expect(seen: Seen, backend: Backend, scene: Scene) -> None:
    """Nothing failed, nothing was lost, and the feeds carried on: whoever paid is confirmed."""
    assert not seen.failed, seen.failed
    assert seen.made
    assert seen.got
    assert seen.paid
    assert len({booking.booking_id for booking in seen.made.values()}) == len(seen.made)

    async def confirmed() -> bool:
        states = [await state_of(backend, scene.admin, scene.main.station_id, booking_id) for booking_id in seen.paid]
        return all(state == bookings_pb2.BOOKING_STATE_CONFIRMED for state in states)

    await eventually(confirmed)
