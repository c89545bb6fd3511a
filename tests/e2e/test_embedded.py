"""The embedded stack: what it refuses, what it leaves behind, and what it says."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import stack
from local.database import ROOT, SERVICES
from local.ports import ANY_PORT, free_ports
from local.postgres import data_folder, private_folder
from local.stack import PYTHONPATH, Stack
from local.supervise import Program, Supervisor
from tests.deployed import eventually

SECONDS = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a test's own stack may be; root's data lie elsewhere, and go too."""
    yield tmp_path
    shutil.rmtree(data_folder(tmp_path / "data"), ignore_errors=True)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_started_as_superuser_refuses_and_says_what_to_do(embedded: Stack, service: str) -> None:
    environ = {**embedded.environ(service), "TEPPAN_DATABASE_APP_URL": embedded.server.url(embedded.database)}
    done = python("-m", service, environ=environ)
    assert done.returncode == 2
    assert "is a superuser: the database would isolate nothing" in done.stderr
    assert f"Use the role {service}_app" in done.stderr


def test_a_service_without_settings_names_all_that_are_missing() -> None:
    done = python("-m", "bookings", environ={})
    assert done.returncode == 2
    for name in ("TEPPAN_LISTEN", "TEPPAN_DATABASE_APP_URL", "TEPPAN_IDENTITY_ADDRESS", "TEPPAN_KEYRING_FILE"):
        assert f"{name} is not set" in done.stderr


def test_a_service_that_waits_for_its_database_ends_when_it_is_told_to(embedded: Stack) -> None:
    """With a code of its own: a container's first process has no other reaction to SIGTERM."""
    [closed, listen, metrics] = free_ports(3)
    nobody = f"postgresql://bookings_app@127.0.0.1:{closed}/teppan"
    environ = {
        **embedded.environ("bookings"), "TEPPAN_DATABASE_APP_URL": nobody, "TEPPAN_DATABASE_PLATFORM_URL": nobody,
        "TEPPAN_LISTEN": f"127.0.0.1:{listen}", "TEPPAN_METRICS_LISTEN": f"127.0.0.1:{metrics}", "PYTHONPATH": PYTHONPATH,
    }  # fmt: skip
    with subprocess.Popen([sys.executable, "-m", "bookings"], cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        while "waiting for the database" not in waiting.stdout.readline():
            assert waiting.poll() is None
        waiting.terminate()
        assert waiting.wait(timeout=SECONDS) == 128 + signal.SIGTERM


def test_a_taken_port_is_named(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        others = dict(zip(("identity", "payments"), free_ports(2), strict=True))
        ports = " ".join(f"{service}={number}" for service, number in {**others, "bookings": port}.items())
        done = python("-m", "local", "up", "--ports", ports, environ={"TEPPAN_STACK_FOLDER": str(folder)})
    assert done.returncode == 2
    assert f"port {port}, which bookings listens on, is taken" in done.stderr


def test_two_who_start_a_stack_at_once_do_not_pull_it_from_under_each_other(folder: Path) -> None:
    with stack.alone(folder / "starting.lock"):
        done = python("-m", "local", "up", environ={"TEPPAN_STACK_FOLDER": str(folder)})
    assert done.returncode == 2
    assert "another command is at it" in done.stderr


def test_a_stopped_stack_leaves_no_process_and_no_socket(folder: Path, pg: str) -> None:
    ports = dict.fromkeys(SERVICES, ANY_PORT)
    fresh = stack.fresh(folder, version=pg, ports=ports)
    try:
        stack.start(fresh, tied=True)
        pids = [status.pid for status in fresh.supervisor.status()]
        assert all(map(alive, pids))
    finally:
        stack.stop(fresh)
    assert not any(map(alive, pids))
    assert not fresh.run.exists()


def test_what_outlives_its_supervisor_is_shown_replaced_and_stopped(folder: Path) -> None:
    ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
    environ = {"TEPPAN_STACK_FOLDER": str(folder)}
    up = ("-m", "local", "up", "--ports", " ".join(f"{service}={port}" for service, port in ports.items()))
    try:
        assert python(*up, environ=environ).returncode == 0
        first = killed(folder)
        said = python("-m", "local", "status", environ=environ)
        assert (said.returncode, "the supervisor is gone" in said.stderr) == (2, True)
        assert all(f"(pid {pid})" in said.stderr for pid in first)
        again = python(*up, environ=environ)
        assert again.returncode == 0, again.stderr
        assert not any(map(alive, first))
        second = killed(folder)
        assert len(second) == len(SERVICES) + 1
    finally:
        down = python("-m", "local", "down", environ=environ)
    assert (down.returncode, down.stdout) == (0, "Nothing of it runs; data stay in place.\n"), down.stderr
    assert not any(map(alive, second))


def killed(folder: Path) -> list[int]:
    """Kills the supervisor of a stack; the PIDs of what runs on without it."""
    supervisor = stack.load(folder).supervisor
    pids = [status.pid for status in supervisor.status()]
    os.kill(int((folder / "supervisord.pid").read_text()), signal.SIGKILL)
    asyncio.run(eventually(lambda: not supervisor.reachable()))
    assert all(map(alive, pids))
    return pids


def test_what_runs_as_another_user_needs_no_way_to_the_clone(folder: Path) -> None:
    """As in a clone below a folder that `mktemp -d` has made."""
    (closed := folder / "clone").mkdir(mode=0o700)
    run = private_folder("teppan-")
    supervisor = Supervisor(folder, run, closed)
    try:
        supervisor.start([Program(name="other", command=["/bin/sleep", "60"], unprivileged=True, waits=False)], tied=True)
        asyncio.run(eventually(lambda: supervisor.status_of("other").state == "RUNNING"))
    finally:
        supervisor.shut_down()
        shutil.rmtree(run)


def test_what_crashes_at_once_and_always_is_said_and_not_tried_for_ever(folder: Path, pg: str) -> None:
    fresh = stack.fresh(folder, version=pg, ports=dict.fromkeys(SERVICES, ANY_PORT))
    try:
        fresh.supervisor.start([Program(name="broken", command=[sys.executable, "-c", "raise SystemExit(1)"])], tied=True)
        fresh.supervisor.run("broken")
        asyncio.run(eventually(lambda: fresh.supervisor.status_of("broken").failed))
    finally:
        stack.stop(fresh)


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
