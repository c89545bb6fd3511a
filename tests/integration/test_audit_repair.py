"""What dangles is repaired by the rule of its column, when somebody asks for it: journaled, a batch a transaction, and never twice."""

import json
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from auditing import Dangling, Repaired, Undecided
from dbcommon import migrate
from dbcommon.audit.repairing import Repairs
from dbcommon.database import Transaction
from dbcommon.references import Known, Referent
from local.database import ROOT, Server
from tests.integration.audited import ADMIN, CUSTOMERS, LOGINS, SCHEDULES, SLOTS, Audited, audited_on
from tests.integration.killed import killed_everywhere
from tests.integration.referrer import EPOCH, NEXT, STATION, USER, Answer

GONE = Referent.NOT_FOUND


@pytest.fixture
async def audited(server: Server, database: str) -> AsyncIterator[Audited]:
    async with audited_on(server, database) as made:
        yield made


async def test_each_rule_is_applied_and_every_row_is_written_down(audited: Audited) -> None:
    station, other, user = await audited.referrer.station(slots_made=2), await audited.referrer.station(slots_made=1), uuid4()
    await audited.referrer.known[USER].store({user: Answer()})
    kept = await audited.referrer.customer(other, user)
    restricted = await audited.referrer.customer(station)
    audited.identity.gone = {station: GONE, user: GONE}
    rows = await audited.outside.fetch(
        "SELECT to_jsonb(s) AS row FROM bookings.slots s WHERE station_id = $1 ORDER BY local_date", station
    )
    end = await audited.end(repair=True)
    assert (end.dangling, end.rows_dangling, end.rows_repaired) == (4, 5, 4)
    assert await audited.slots(station) == 0
    assert await audited.slots(other) == 1
    assert await audited.outside.fetchval("SELECT count(*) FROM bookings.schedules WHERE station_id = $1", station) == 0
    assert await audited.outside.fetchval("SELECT user_id FROM bookings.customers WHERE id = $1", kept) is None
    assert await audited.outside.fetchval("SELECT count(*) FROM bookings.customers WHERE id = $1", restricted) == 1
    assert await audited.journal() == [
        (LOGINS, user, ADMIN, 1), (SCHEDULES, station, ADMIN, 1), (SLOTS, station, ADMIN, 2),
    ]  # fmt: skip
    journal = await audited.outside.fetch('SELECT key, was, rule FROM bookings.reference_repairs WHERE "column" = $1', SLOTS)
    assert sorted(row["was"] for row in journal) == sorted(row["row"] for row in rows)
    key = json.loads(journal[0]["key"])
    assert key.items() <= json.loads(journal[0]["was"]).items()
    assert key.keys() == {"station_id", "local_date", "local_start"}
    emptied = await audited.outside.fetchrow('SELECT key, was FROM bookings.reference_repairs WHERE "column" = $1', LOGINS)
    assert json.loads(emptied["key"]) == {"station_id": str(other), "id": str(kept)}
    assert json.loads(emptied["was"]) == {"user_id": str(user)}, "of a row that stays nothing else is copied"
    assert await audited.found() == {(CUSTOMERS, station): 1}, "what is repaired is no finding any more; RESTRICT is an operator's"


async def test_nothing_that_is_open_or_closed_is_repaired(audited: Audited) -> None:
    station = await audited.referrer.station(slots_made=2)
    audited.identity.gone[station] = Referent.CLOSED
    assert (await audited.end(repair=True)).rows_repaired == 0
    assert await audited.slots(station) == 2


async def test_the_journal_can_only_be_added_to(audited: Audited) -> None:
    for statement in ("DELETE FROM bookings.reference_repairs", "UPDATE bookings.reference_repairs SET repaired_by = ''"):
        async with audited.outside.transaction():
            await audited.outside.execute("SET LOCAL ROLE bookings_platform")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with audited.outside.transaction():
                    await audited.outside.execute(statement)


async def test_rows_that_a_backup_brought_back_of_a_purged_thing_are_removed_again(audited: Audited) -> None:
    station = await audited.referrer.station(slots_made=2)
    await audited.outside.execute("CREATE TABLE public.backup AS SELECT * FROM bookings.slots")
    await audited.referrer.hears(STATION, station, 2, Referent.PURGED)
    await audited.referrer.closes()
    await audited.referrer.consequences.step()
    assert await audited.referrer.row(station) == (Known.PURGED, 2, True)
    await audited.plants("INSERT INTO bookings.slots SELECT * FROM public.backup")
    audited.identity.gone[station] = Referent.PURGED
    assert (await audited.end(repair=True)).rows_repaired == 2
    assert await audited.slots(station) == 0


async def test_a_thousand_rows_go_in_a_transaction(audited: Audited) -> None:
    station = await audited.brought_back(2_500)
    assert [each.rows for each in await audited.said(Dangling, SLOTS)] == [1_000], "more are not counted"
    assert [each.rows for each in await audited.said(Repaired, SLOTS, repair=True)] == [1_000, 1_000, 500]
    rows = await audited.outside.fetch("SELECT count(*) FROM bookings.reference_repairs GROUP BY xmin::text ORDER BY 1")
    assert [row["count"] for row in rows] == [500, 1_000, 1_000]
    assert await audited.journal() == [(SLOTS, station, ADMIN, 2_500)]


@pytest.mark.parametrize(
    ("version", "state", "epoch"), [(2, Referent.OPEN, EPOCH), (2, Referent.CLOSED, EPOCH), (1, Referent.OPEN, NEXT)]
)
async def test_what_is_heard_of_after_the_second_observation_is_not_touched(
    audited: Audited, monkeypatch: pytest.MonkeyPatch, version: int, state: Referent, epoch: object
) -> None:
    station = await audited.referrer.station(slots_made=2)
    audited.identity.gone[station] = GONE
    holds = Repairs._holds

    async def late(*arguments: object) -> bool:
        await audited.outside.execute(
            "UPDATE bookings.known_stations SET version = $2, state = $3, epoch = $4 WHERE id = $1",
            station, version, Known.OPEN if state is Referent.OPEN else Known.CLOSED, epoch,
        )  # fmt: skip
        return await holds(*arguments)  # type: ignore[arg-type]  # what it was called with

    monkeypatch.setattr(Repairs, "_holds", late)
    undecided = await audited.said(Undecided, SLOTS, repair=True)
    assert [(each.ids, each.why) for each in undecided] == [([station], "it was heard of meanwhile")]
    assert await audited.slots(station) == 2
    assert await audited.journal() == []


async def test_what_is_there_again_between_two_batches_keeps_the_rest(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    station = await audited.brought_back(1_500)
    audited.fresh_seconds = -1.0  # each batch observes anew
    repair = Repairs.repair

    async def then_undeleted(*arguments: object) -> int:
        rows = await repair(*arguments)  # type: ignore[arg-type]  # what it was called with
        audited.identity.gone.clear()
        return rows

    monkeypatch.setattr(Repairs, "repair", then_undeleted)
    steps = await audited.run(SLOTS, repair=True)
    assert [each.rows for each in steps if isinstance(each, Repaired)] == [1_000]
    assert [each.why for each in steps if isinstance(each, Undecided)] == ["it is there again"]
    assert await audited.slots(station) == 500
    assert await audited.found() == {(SLOTS, station): 1_000}


async def test_no_event_is_applied_while_a_batch_is_repaired(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    await audited.brought_back(2)
    holds = Repairs._holds
    tried = []

    async def then(self: Repairs, tx: Transaction, *others: object) -> bool:
        held = await holds(self, tx, *others)  # type: ignore[arg-type]  # what it was called with
        with pytest.raises(asyncpg.LockNotAvailableError):
            await audited.outside.execute("SELECT FROM bookings.feed_state FOR NO KEY UPDATE NOWAIT")
        tried.append(held)
        return held

    monkeypatch.setattr(Repairs, "_holds", then)
    await audited.run(SLOTS, repair=True)
    assert tried == [True]


async def test_rows_that_something_else_needs_are_undecided_and_nobody_elses_trouble(audited: Audited) -> None:
    needed, other = sorted([await audited.brought_back(1), await audited.brought_back(1)])
    await audited.outside.execute(
        "CREATE TABLE public.needing (LIKE bookings.slots);"
        "ALTER TABLE public.needing ADD FOREIGN KEY (station_id, local_date, local_start) REFERENCES bookings.slots"
    )
    await audited.outside.execute("INSERT INTO public.needing SELECT * FROM bookings.slots WHERE station_id = $1", needed)
    undecided = await audited.said(Undecided, SLOTS, repair=True)
    assert [each.ids for each in undecided] == [[needed]]
    assert "needed by another" in undecided[0].why
    assert (await audited.slots(needed), await audited.slots(other)) == (1, 0)
    assert await audited.found() == {(SLOTS, needed): 1}


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.long)])
async def test_what_is_killed_at_any_await_is_finished_by_the_next_and_nothing_is_written_down_twice(
    audited: Audited, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbcommon.audit.repairing.BATCH", 2)
    monkeypatch.setattr("dbcommon.audit.auditor.BATCH", 2)
    monkeypatch.setattr("dbcommon.references.consequences.BATCH", 2)
    audited.fresh_seconds = -1.0

    async def work() -> None:
        await audited.run(SLOTS, repair=True)

    station = await audited.brought_back(5)
    rounds = 0
    async for _ in killed_everywhere(audited.referrer.platform, audited.outside, work):
        left = await audited.slots(station)
        written = [(SLOTS, station, ADMIN, 5 - left)] if left < 5 else []
        assert await audited.journal() == written, "what is gone is in the journal, and no more"
        rounds += 1
        if rounds % every == 0:
            await work()
            assert await audited.slots(station) == 0
            assert await audited.journal() == [(SLOTS, station, ADMIN, 5)]
            assert await audited.found() == {}
        await audited.outside.execute("TRUNCATE bookings.reference_repairs, bookings.slots CASCADE")
        station = await audited.brought_back(5)
    assert rounds > 20


@pytest.mark.parametrize(("service", "before"), [("bookings", "0006"), ("payments", "0005")])
async def test_going_back_refuses_to_lose_the_journal(server: Server, database: str, service: str, before: str) -> None:
    url, folder = server.url(database, f"{service}_owner"), ROOT / "services" / service / "migrations"
    connection = await asyncpg.connect(server.url(database))
    journal = (
        f"INSERT INTO {service}.reference_repairs (repaired_by, \"column\", id, rule, key, was) VALUES ('', '', $1, 2, $2, $2)"
    )
    await connection.execute(journal, uuid4(), "{}")
    with pytest.raises(DBAPIError, match="the journal of repairs would be lost"):
        await migrate.downgrade(url, service, folder, before)
    await connection.execute(f"TRUNCATE {service}.reference_repairs")
    await connection.close()
    await migrate.downgrade(url, service, folder, before)
