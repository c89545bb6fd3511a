"""The peers run and answer right, where their toolchains are; how fast anything is, no test says."""

import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import asyncpg
import pytest

from local.database import Server
from local.postgres import binaries
from tests.bench.peers import answers, calls, copying, cpu, golang, load, servers
from tests.bench.peers.absent import Absent
from tests.bench.peers.answers import Answers
from tests.bench.peers.golang import Programs
from tests.bench.peers.raw import Call, Refused, received
from tests.bench.peers.seed import BIG, STARTS, Seeded, seed
from tests.bench.peers.servers import Running
from tests.bench.peers.tokens import Signer
from tests.conftest import new_database

BOOKINGS = 2_000
PAGE = 50
SECONDS = 0.2
ALL_ROWS = "bookings_owner"

Made = TypeVar("Made")

pytestmark = pytest.mark.skipif("TEPPAN_DATABASE_URL" in os.environ, reason="the server's CPU is read from this machine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A seeded database."""

    server: Server
    database: str
    seeded: Seeded

    def url(self, role: str | None = None) -> str:
        return self.server.url(self.database, role)

    async def answers(self) -> Answers:
        return await Answers.read(self.url(), BIG, first=200)

    async def customers(self) -> list[UUID]:
        rows = await self.rows("SELECT id FROM bookings.customers WHERE station_id = $1", BIG)
        return [row["id"] for row in rows]

    async def rows(self, statement: str, *parameters: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url())
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *parameters)
        finally:
            await connection.close()
        return rows


@pytest.fixture(scope="module")
async def ground(server: Server, template: str) -> AsyncIterator[Ground]:
    name = new_database()
    await server.create(name, template)
    yield Ground(server=server, database=name, seeded=await seed(server.url(name), bookings=BOOKINGS))
    await server.drop(name)


@pytest.fixture(scope="module")
def programs() -> Programs:
    return or_skip(golang.build)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer.new(tmp_path)


def or_skip(make: Callable[[], Made]) -> Made:
    try:
        return make()
    except Absent as absent:
        pytest.skip(str(absent))


def days() -> Sequence[datetime]:
    return [datetime.now(UTC) + timedelta(days=ahead) for ahead in range(5, 35)]


async def test_the_seed_is_what_every_constraint_and_trigger_accepts(ground: Ground, database: str) -> None:
    keys = await ground.rows("SELECT conrelid::regclass::text AS place, conname AS name, pg_get_constraintdef(oid) AS definition"
                             " FROM pg_constraint WHERE contype = 'f' AND connamespace = 'bookings'::regnamespace")  # fmt: skip
    assert len(keys) > 5
    for key in keys:
        again = f"ALTER TABLE {key['place']} ADD CONSTRAINT {key['name']}_again {key['definition']}"
        await ground.rows(f"{again} NOT VALID")
        await ground.rows(f"ALTER TABLE {key['place']} VALIDATE CONSTRAINT {key['name']}_again")
        await ground.rows(f"ALTER TABLE {key['place']} DROP CONSTRAINT {key['name']}_again")
    taken = "SELECT count(*) FROM bookings.bookings b WHERE state BETWEEN 1 AND 5 AND (b.station_id, b.slot_date, b.slot_start) = (s.station_id, s.local_date, s.local_start)"
    lines = "SELECT coalesce(sum(amount_minor), 0) FROM bookings.price_lines l WHERE (l.station_id, l.booking_id) = (b.station_id, b.id)"
    for wrong in (
        f"SELECT * FROM bookings.slots s WHERE taken <> ({taken}) OR taken > capacity",
        f"SELECT * FROM bookings.bookings b WHERE total_minor <> ({lines})",
        "SELECT * FROM bookings.bookings WHERE create_time > now() OR update_time NOT BETWEEN create_time AND now() OR start_time <= create_time",
        "SELECT * FROM bookings.bookings WHERE start_time <> (slot_date + slot_start) AT TIME ZONE time_zone",
        "SELECT * FROM bookings.bookings WHERE state = 2 AND deposit_deadline_time < now()",
    ):
        assert await ground.rows(wrong) == []
    placed = "SELECT start_time, id, row_number() OVER (ORDER BY ctid) AS place FROM bookings.bookings WHERE station_id = $1"
    steps = f"SELECT place - lag(place) OVER (ORDER BY start_time, id) AS step FROM ({placed}) p"
    [[neighbours]] = await ground.rows(f"SELECT count(*) FROM ({steps}) s WHERE abs(step) = 1", BIG)
    assert neighbours < BOOKINGS / 10
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'bookings' ORDER BY indexname"
    assert await ground.rows(indexes) == await replace(ground, database=database).rows(indexes)


async def test_psql_copies_the_list(ground: Ground, pg: str) -> None:
    copied = await copying.copy(binaries(pg) / "psql", ground.url(), BIG, rows=BOOKINGS)
    assert copied.rows_per_second > 0
    with pytest.raises(copying.PsqlFails):
        await copying.copy(binaries(pg) / "psql", ground.url("bookings_app").replace("bookings_app", "nobody"), BIG, rows=1)


@pytest.mark.parametrize("client", ["h2load", "python"])
async def test_an_empty_call_of_the_bare_server_is_measured(client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if client == "python":
        monkeypatch.setattr(shutil, "which", lambda _: None)
    elif shutil.which("h2load") is None:
        pytest.skip("there is no h2load, and the other client is tested besides: Debian's package nghttp2-client has it")

    def empty(messages: Sequence[bytes]) -> None:
        assert messages == [bytes(2)]

    async with servers.bare() as running:
        account = cpu.Account(name="server", pid=running.pid)
        measured = await load.measure(calls.bare_call(running.address), empty, clients=4, seconds=SECONDS, accounts=[account])
    assert (measured.client, measured.failed) == (client, 0)
    assert measured.bytes == measured.done * 7
    assert 0 < measured.p50_ms <= measured.p99_ms
    assert measured.cpu_us("server") > 0


@pytest.mark.parametrize("checked", [False, True])
async def test_the_peer_in_go_answers_what_the_database_has(
    ground: Ground, programs: Programs, signer: Signer, *, checked: bool
) -> None:
    right, account = await ground.answers(), await cpu.postgres(ground.url())
    bearer = signer.bearer([BIG]) if checked else ""
    url, jwks = (ground.url("bookings_app"), signer.jwks) if checked else (ground.url(ALL_ROWS), None)
    async with servers.go(programs, url, checked_by=jwks) as running:
        listed = partial(calls.list_bookings, running.address, BIG, authorization=bearer)
        stream = await load.measure_stream(listed(page_size=300, rows=right.count), right.whole().grpc, accounts=[account])
        assert stream.rows == right.count
        again = await load.measure_stream(listed(page_size=300, rows=right.count), None, expected=stream.bytes)
        assert again.bytes == stream.bytes
        one_page = listed(page_size=PAGE, page_limit=1, rows=PAGE)
        page = await load.measure(one_page, right.first(PAGE).grpc, clients=4, seconds=SECONDS, accounts=[account])
        assert page.rows == page.done * PAGE
        for row in right.rows[:20]:
            right.booking(row).grpc(await received(calls.get_booking(running.address, BIG, row["id"], authorization=bearer)))
        get = calls.get_booking(running.address, BIG, right.rows[3]["id"], authorization=bearer)
        await load.measure(get, right.booking(right.rows[3]).grpc, clients=4, seconds=SECONDS)
        await creates(ground, calls.create_booking(running.address, authorization=bearer), programs)


async def creates(ground: Ground, call: Call, programs: Programs | None) -> None:
    """Measures with both clients, and counts what they have made."""
    grpc = call.kind == "grpc"
    make, check = (calls.create_bodies, answers.created) if grpc else (calls.http_bodies, answers.created_http)
    for client in {programs, None}:
        bodies, offset = make(BIG, await ground.customers(), [day.date() for day in days()], STARTS)
        counted = "SELECT (SELECT count(*) FROM bookings.bookings), (SELECT count(*) FROM bookings.requests), (SELECT count(*) FROM bookings.outbox)"
        [before] = await ground.rows(counted)
        measured = await load.measure_writes(
            call, bodies, offset, check, clients=4, seconds=SECONDS, warm_seconds=SECONDS, programs=client
        )
        [after] = await ground.rows(counted)
        made = {now - then for now, then in zip(after, before, strict=True)}
        assert len(made) == 1
        assert made.pop() > measured.done > 0
        repeated = await received(replace(call, body=bodies[0]))
        check(repeated)
        assert await received(replace(call, body=bodies[0])) == repeated
        assert await ground.rows(counted) == [after]
    wrong = "SELECT * FROM bookings.slots WHERE taken > capacity"
    assert await ground.rows(wrong) == []


async def test_the_checked_peer_refuses_what_teppan_refuses(
    ground: Ground, programs: Programs, signer: Signer, tmp_path: Path
) -> None:
    other, right = ground.seeded.stations[1], await ground.answers()
    [foreign] = await ground.rows("SELECT id FROM bookings.bookings WHERE station_id = $1 LIMIT 1", other)
    (tmp_path / "else").mkdir()
    forged = Signer.new(tmp_path / "else").bearer([BIG])
    bodies, _ = calls.create_bodies(BIG, await ground.customers(), [day.date() for day in days()], STARTS)
    async with servers.go(programs, ground.url("bookings_app"), checked_by=signer.jwks) as running:
        get = partial(calls.get_booking, running.address)
        own = right.rows[0]["id"]
        create = replace(calls.create_booking(running.address), body=bodies[0])
        for call, status in (
            (get(BIG, own), "UNAUTHENTICATED"),
            (get(BIG, own, authorization=forged), "UNAUTHENTICATED"),
            (get(BIG, own, authorization=signer.bearer([other])), "PERMISSION_DENIED"),
            (get(BIG, foreign["id"], authorization=signer.bearer([BIG])), "NOT_FOUND"),
            (
                calls.list_bookings(running.address, other, page_size=1, rows=1, authorization=signer.bearer([BIG])),
                "PERMISSION_DENIED",
            ),
            (replace(create, authorization=signer.bearer([BIG], role=1)), "PERMISSION_DENIED"),
        ):
            with pytest.raises(Refused, match=status):
                await received(call)


@pytest.mark.long
async def test_the_peer_in_fastapi_answers_what_the_database_has(ground: Ground) -> None:
    right, python = await ground.answers(), or_skip(servers.install_fastapi)
    running: AbstractAsyncContextManager[Running] = servers.fastapi(python, ground.url(ALL_ROWS))
    async with running as peer:
        export = calls.http_export(peer.address, BIG, page_size=300, rows=right.count)
        assert (await load.measure_stream(export, right.whole().http)).rows == right.count
        page = calls.http_list(peer.address, BIG, page_size=PAGE, rows=PAGE)
        await load.measure(page, right.first(PAGE).http, clients=4, seconds=SECONDS)
        for row in right.rows[:5]:
            right.booking(row).http(await received(calls.http_get(peer.address, BIG, row["id"])))
        get = calls.http_get(peer.address, BIG, right.rows[3]["id"])
        await load.measure(get, right.booking(right.rows[3]).http, clients=4, seconds=SECONDS)
        try:
            client = golang.build()
        except Absent:
            client = None
        await creates(ground, calls.http_create(peer.address), client)


async def test_a_measurement_fails_where_answers_are_wrong(ground: Ground, programs: Programs) -> None:
    right = await ground.answers()
    async with servers.go(programs, ground.url(ALL_ROWS)) as running:
        get = calls.get_booking(running.address, BIG, right.rows[0]["id"])
        with pytest.raises(answers.Wrong):
            await load.measure(get, right.booking(right.rows[1]).grpc, clients=1, seconds=SECONDS)
        with pytest.raises(load.WrongAnswer, match="bytes"):
            await load.measure_stream(get, None, expected=1)
        with pytest.raises(Refused, match="NOT_FOUND"):
            await load.measure(calls.get_booking(running.address, BIG, UUID(int=7)), right.first(1).grpc, clients=1)
