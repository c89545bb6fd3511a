"""The processes: one booking across all three, killed and started again, refusing, stopped."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import time
from pathlib import Path

import pytest
from demo import listing, load, story
from demo.calls import Backend, new_id
from demo.scene import Scene, booking, day
from teppan.bookings.v1 import bookings_pb2
from teppan.payments.v1 import payments_pb2

from local import stack
from local.database import ROOT, SERVICES
from local.stack import Stack
from local.supervise import Program

LOAD = 300
PAID_EACH = 5
SECONDS = 60.0


async def test_one_booking_goes_through_all_three_services(backend: Backend, cast: Scene) -> None:
    told: list[str] = []
    await story.follow(backend, cast, told.append)
    assert [line.split(":")[0] for line in told] == ["bookings", "payments", "bookings", "bookings"]


async def test_a_request_repeated_after_a_kill_is_the_same_booking(running: Stack, backend: Backend, cast: Scene) -> None:
    request = booking(cast.places[1], day(40), time(12), 1)
    first = (await backend.sure("bookings.CreateBooking", request, cast.admin)).booking
    await killed(running, "bookings")
    second = (await backend.sure("bookings.CreateBooking", request, cast.admin)).booking
    assert second == first


async def test_requests_in_flight_at_a_kill_have_one_effect_each(running: Stack, backend: Backend, cast: Scene) -> None:
    place = cast.places[2]
    requests = [booking(place, day(50 + n), time(hour), n) for n in range(10) for hour in load.DEFAULT_HOURS]
    tasks = [asyncio.create_task(backend.sure("bookings.CreateBooking", request, cast.admin)) for request in requests]
    await eventually(lambda: sum(task.done() for task in tasks) >= 5)
    await killed(running, "bookings")
    answers = [answer.booking for answer in await asyncio.gather(*tasks)]
    again = [(await backend.sure("bookings.CreateBooking", request, cast.admin)).booking for request in requests]
    assert [b.booking_id for b in again] == [b.booking_id for b in answers]
    listed = await listing.whole(backend, cast.admin, place.station_id)
    assert len({b.booking_id for b in answers}) == len(requests)
    assert set(listed) >= {b.booking_id for b in answers}
    assert len(listed) == len(set(listed))


async def test_under_load_each_service_is_killed_and_nothing_is_lost(running: Stack, backend: Backend, cast: Scene) -> None:
    agent, paid, made = cast.tokens["agent"], [], []

    async def caller(requests: list[bookings_pb2.CreateBookingRequest]) -> None:
        for request in requests:
            answer = (await backend.sure("bookings.CreateBooking", request, agent)).booking
            made.append(answer)
            if len(made) % PAID_EACH == 0:
                await backend.sure("payments.CreatePayment", deposit(answer), agent)
                paid.append(answer.booking_id)

    requests = await load.wanted(backend, cast, LOAD)
    callers = [asyncio.create_task(caller(requests[n::8])) for n in range(8)]
    for share, service in enumerate(("payments", "bookings", "identity"), start=1):
        await eventually(lambda share=share: len(made) >= share * LOAD // 5)  # type: ignore[misc]  # bound here
        await killed(running, service)
    await asyncio.gather(*callers)

    listed = await listing.whole(backend, agent, cast.main.station_id)
    assert set(listed) >= {b.booking_id for b in made}
    assert len(listed) == len(set(listed))
    assert len(paid) >= LOAD // PAID_EACH - 8

    async def confirmed() -> bool:
        states = [await state_of(backend, agent, cast.main.station_id, booking_id) for booking_id in paid]
        return all(state == bookings_pb2.BOOKING_STATE_CONFIRMED for state in states)

    await eventually(confirmed)


async def test_the_list_resumes_where_a_stream_broke(backend: Backend, cast: Scene) -> None:
    viewer, station = cast.tokens["viewer"], cast.main.station_id
    assert await listing.broken(backend, viewer, station) == await listing.whole(backend, viewer, station)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_started_as_superuser_refuses_and_says_what_to_do(running: Stack, service: str) -> None:
    environ = {**running.environ(service), "TEPPAN_DATABASE_APP_URL": running.server.url(running.database)}
    done = python("-m", service, environ=environ)
    assert done.returncode == 2
    assert "is a superuser: the database would isolate nothing" in done.stderr
    assert f"Use the role {service}_app" in done.stderr


def test_a_service_without_settings_names_all_that_are_missing() -> None:
    done = python("-m", "bookings", environ={})
    assert done.returncode == 2
    for name in ("TEPPAN_LISTEN", "TEPPAN_DATABASE_APP_URL", "TEPPAN_IDENTITY_ADDRESS", "TEPPAN_KEYRING_FILE"):
        assert f"{name} is not set" in done.stderr


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = python("-m", "local", "up", "--ports", f"bookings={port}", environ={"TEPPAN_STACK_FOLDER": str(tmp_path)})
    assert done.returncode == 2
    assert f"port {port}, which bookings listens on, is taken" in done.stderr


def test_two_who_start_a_stack_at_once_do_not_pull_it_from_under_each_other(tmp_path: Path) -> None:
    with stack.alone(tmp_path / "starting.lock"):
        done = python("-m", "local", "up", environ={"TEPPAN_STACK_FOLDER": str(tmp_path)})
    assert done.returncode == 2
    assert "another command is at it" in done.stderr


def test_a_stopped_stack_leaves_no_process_and_no_socket(tmp_path: Path, pg: str) -> None:
    ports = dict.fromkeys(SERVICES, stack.ANY_PORT)
    fresh = stack.fresh(tmp_path, version=pg, ports=ports, metrics=ports)
    try:
        stack.start(fresh, tied=True)
        pids = [status.pid for status in fresh.supervisor.status()]
        assert all(map(alive, pids))
    finally:
        stack.stop(fresh)
    assert not any(map(alive, pids))
    assert not fresh.run.exists()


def test_what_crashes_at_once_and_always_is_said_and_not_tried_for_ever(tmp_path: Path, pg: str) -> None:
    fresh = stack.fresh(tmp_path, version=pg, ports=dict.fromkeys(SERVICES, 0), metrics=dict.fromkeys(SERVICES, 0))
    try:
        fresh.supervisor.start([Program(name="broken", command=[sys.executable, "-c", "raise SystemExit(1)"])], tied=True)
        fresh.supervisor.run("broken")
        asyncio.run(eventually(lambda: fresh.supervisor.status_of("broken").failed))
    finally:
        stack.stop(fresh)


# ----------------------------------------------------------------------------------------------------------------------


def deposit(made: bookings_pb2.Booking) -> payments_pb2.CreatePaymentRequest:
    """The deposit of a booking, in cash."""
    return payments_pb2.CreatePaymentRequest(
        request_id=new_id(),
        station_id=made.station_id,
        booking_id=made.booking_id,
        amount_minor=made.deposit_minor,
        kind=payments_pb2.PAYMENT_KIND_DEPOSIT,
        method=payments_pb2.PAYMENT_METHOD_CASH,
        currency_code=made.currency_code,
    )


async def state_of(backend: Backend, token: str, station_id: str, booking_id: str) -> int:
    request = bookings_pb2.GetBookingRequest(station_id=station_id, booking_id=booking_id)
    return int((await backend.sure("bookings.GetBooking", request, token)).booking.state)


async def killed(running: Stack, service: str) -> None:
    """Kills a service's process, and returns when the supervisor has started another."""
    pid = running.supervisor.status_of(service).pid
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: running.supervisor.status_of(service).pid not in {0, pid})


async def eventually(condition: Callable[[], object]) -> None:
    """Returns when the condition holds; fails after a minute."""
    async with asyncio.timeout(SECONDS):
        while True:
            held = condition()
            if await held if asyncio.iscoroutine(held) else held:
                return
            await asyncio.sleep(0.02)


def python(*arguments: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs Python on this repository, to its end."""
    pythonpath = "services:libs:protos/python:deploy"
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**environ, "PYTHONPATH": pythonpath}, capture_output=True, text=True,
        check=False, timeout=SECONDS,
    )  # fmt: skip


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
