"""`make events`, `make events-replay` and `make events-drop` on the embedded stack."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from local.database import ROOT
from local.stack import Stack
from tests.deployed import IN_CONTAINERS

SECONDS = 60.0
pytestmark = pytest.mark.skipif(IN_CONTAINERS, reason="of the embedded stack")


@pytest.fixture
def parked(embedded: Stack) -> Iterator[UUID]:
    """An event in payments that nothing can apply, and one that waits behind it."""
    id = uuid4()

    async def put() -> None:
        connection = await asyncpg.connect(embedded.server.url(embedded.database))
        event = (
            "INSERT INTO payments.parked_events (owner, event_id, type, entity_id, epoch, position, version, event, attempts,"
            " first_failed_time, parked_time, error_class, error_sentence)"
            " VALUES ('bookings', $1, 'bookings.Nothing', $2, $1, 1, 1, '', $3, $4, $4, $5, $6)"
        )
        failed = await connection.fetchval("SELECT now()")
        await connection.execute(event, id, id, 10, failed, "ValueError", "raised at payments.wire.heard:24")
        await connection.execute(event, uuid4(), id, 0, None, None, None)
        await connection.close()

    async def clear() -> None:
        connection = await asyncpg.connect(embedded.server.url(embedded.database))
        await connection.execute("DELETE FROM payments.parked_events WHERE entity_id = $1", id)
        await connection.close()

    asyncio.run(put())
    yield id
    asyncio.run(clear())


def make(embedded: Stack, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs what a target of the Makefile runs."""
    environ = {"PYTHONPATH": "services:libs:protos/python:deploy", "TEPPAN_STACK_FOLDER": str(embedded.folder), "USER": "ann"}
    return subprocess.run(
        [sys.executable, "-m", "local", *arguments],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


def test_where_every_event_is_applied_the_list_says_so(embedded: Stack) -> None:
    done = make(embedded, "events")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Every event is applied.\n", "")


def test_the_list_is_a_table_of_what_failed_and_what_waits_for_it(embedded: Stack, parked: UUID) -> None:
    for arguments in (("events",), ("events", "--service", "payments")):
        done = make(embedded, *arguments)
        assert done.returncode == 0, done.stderr
        for shown in (str(parked), "bookings.Nothing", "parked: 10 attempts", "1 behind it", "payments.wire.heard:24"):
            assert shown in done.stdout
    assert make(embedded, "events", "--service", "bookings").stdout == "Every event is applied.\n"


@pytest.mark.long
def test_a_replay_that_fails_and_a_drop_say_what_became_of_it(embedded: Stack, parked: UUID) -> None:
    replayed = make(embedded, "events-replay", "--service", "payments", "--id", str(parked))
    assert (replayed.returncode, "fails: NoHandler" in replayed.stdout) == (1, True)
    dropped = make(embedded, "events-drop", "--service", "payments", "--id", str(parked), "--reason", "it's of nothing")
    assert dropped.stdout.startswith(f"{parked}: dropped")
    again = make(embedded, "events-replay", "--service", "payments", "--id", str(parked))
    assert (again.returncode, again.stdout) == (1, f"{parked}: no such event lies aside\n")


DROP = ("events-drop", "--service", "payments", "--reason", "it's of nothing", "--error")


@pytest.mark.long
def test_all_that_fail_alike_are_dropped_at_once_with_what_fails_likewise_behind_them(embedded: Stack, parked: UUID) -> None:
    other = make(embedded, *DROP, "NoHandler")
    assert (other.returncode, other.stdout) == (1, "nothing is parked that fails with NoHandler\n")
    make(embedded, "events-replay", "--service", "payments", "--id", str(parked))  # which fails with it
    dropped = make(embedded, *DROP, "NoHandler")
    assert (dropped.returncode, dropped.stdout.count(": dropped"), str(parked) in dropped.stdout) == (0, 2, True)
    assert make(embedded, "events").stdout == "Every event is applied.\n"


@pytest.mark.long
def test_what_fails_otherwise_behind_one_that_is_dropped_stays_and_is_told(embedded: Stack, parked: UUID) -> None:
    dropped = make(embedded, *DROP, "ValueError")
    assert (dropped.returncode, dropped.stdout.count(": dropped"), str(parked) in dropped.stdout) == (1, 1, True)
    assert "fails: NoHandler" in dropped.stdout
    assert "retried: " in make(embedded, "events").stdout


@pytest.mark.parametrize("arguments", [("events-replay",), ("events-drop", "--service", "payments", "--id", str(uuid4()))])
def test_who_forgets_to_say_which_or_why_is_told_how(embedded: Stack, arguments: tuple[str, ...]) -> None:
    done = make(embedded, *arguments)
    assert done.returncode == 2
    assert f"make {arguments[0]} S=payments ID=" in done.stderr
