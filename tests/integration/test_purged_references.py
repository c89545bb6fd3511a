"""What refers to a thing that is gone for ever is deleted or emptied, in short transactions, whoever is killed meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextvars import Context
from uuid import UUID, uuid4

import asyncpg
import pytest

from dbcommon.database import Transaction
from dbcommon.inbox import forget_readiness
from dbcommon.references import Known, KnownRows, Referent, consequences
from faults import ReferenceClosed
from local.database import Server
from tests.integration.aside import Killed
from tests.integration.referrer import EPOCH, NEXT, STATION, USER, Answer, Referrer, referrer_on, refers
from tests.integration.stage import Teppan, eventually

OPEN, CLOSED, GONE = Referent.OPEN, Referent.CLOSED, Referent.PURGED
NOTHING = {"schedules": 0, "schedule_slots": 0, "slots": 0, "customers": 0}


@pytest.fixture
async def referrer(server: Server, database: str) -> AsyncIterator[Referrer]:
    async with referrer_on(server, database) as made:
        yield made


async def test_a_thing_that_is_gone_is_closed_first_and_purged_last_at_that_version(referrer: Referrer) -> None:
    station = await referrer.station(slots_made=3)
    await referrer.hears(STATION, station, 2, GONE)
    assert await referrer.row(station) == (Known.CLOSING, 2, True)
    await referrer.consequences.step()
    assert (await referrer.left(station))["slots"] == 3, "before the second step a write may still be open"
    await referrer.closes()
    assert await referrer.row(station) == (Known.CLOSED, 2, True)
    assert (await referrer.left(station))["slots"] == 3
    await referrer.consequences.step()
    assert await referrer.row(station) == (Known.PURGED, 2, True)
    assert await referrer.left(station) == NOTHING


async def test_a_tombstone_needs_no_facts_and_is_kept_of_things_never_used_here(referrer: Referrer) -> None:
    known, unknown = await referrer.station(), uuid4()
    for station in (known, unknown):
        await referrer.hears(STATION, station, 2, GONE, facts=False)
        assert await referrer.row(station) == (Known.CLOSING, 2, True)
    facts = "SELECT code FROM bookings.known_stations WHERE id = :id"
    assert [(await referrer.rows(facts, id=station))[0].code for station in (known, unknown)] == ["MITTE", ""]


async def test_cascade_deletes_a_thousand_rows_in_a_transaction_and_no_row_of_another_station(
    referrer: Referrer, outside: asyncpg.Connection
) -> None:
    await outside.execute(
        "CREATE TABLE public.deleted (xid xid8, id uuid); GRANT INSERT ON public.deleted TO PUBLIC;"
        "CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " 'BEGIN INSERT INTO public.deleted VALUES (pg_current_xact_id(), OLD.station_id); RETURN NULL; END';"
        "CREATE TRIGGER note AFTER DELETE ON bookings.slots FOR EACH ROW EXECUTE FUNCTION public.note()"
    )
    gone, other = await referrer.station(slots_made=2_500), await referrer.station(slots_made=2)
    await referrer.hears(STATION, gone, 2, GONE)
    await referrer.closes()
    await referrer.consequences.step()
    assert await referrer.left(gone) == NOTHING
    assert (await referrer.left(other))["slots"] == 2
    deleted = await outside.fetch("SELECT count(*) FROM public.deleted GROUP BY xid ORDER BY xid")
    assert [row["count"] for row in deleted] == [1_000, 1_000, 500]


async def test_nullify_empties_the_column_and_leaves_the_row(referrer: Referrer) -> None:
    station, user, other = await referrer.station(), uuid4(), uuid4()
    await referrer.known[USER].store({user: Answer(), other: Answer()})
    customers = [await referrer.customer(station, who) for who in (user, user, other, None)]
    await referrer.hears(USER, user, 2, GONE)
    await referrer.closes()
    await referrer.consequences.step()
    assert await referrer.row(user, "known_users") == (Known.PURGED, 2, True)
    rows = await referrer.rows("SELECT id, user_id, version FROM bookings.customers")
    assert {row.id: (row.user_id, row.version) for row in rows} == dict(
        zip(customers, [(None, 7), (None, 7), (other, 7), (None, 7)], strict=True)
    )


@pytest.mark.parametrize(("state", "epoch"), [(OPEN, EPOCH), (CLOSED, EPOCH), (OPEN, NEXT), (CLOSED, NEXT)])
async def test_what_comes_back_after_all_loses_nothing(referrer: Referrer, state: Referent, epoch: UUID) -> None:
    station = await referrer.station(slots_made=2)
    await referrer.hears(STATION, station, 2, GONE)
    await referrer.closes()
    await referrer.hears(STATION, station, 3, state, epoch=epoch)
    await referrer.closes()
    await referrer.consequences.step()
    assert (await referrer.left(station))["slots"] == 2
    assert await referrer.row(station) == (Known.OPEN if state == OPEN else Known.CLOSED, 3, False)


async def test_what_comes_back_after_it_was_found_due_loses_nothing(referrer: Referrer, monkeypatch: pytest.MonkeyPatch) -> None:
    station = await referrer.station(slots_made=2)
    await referrer.hears(STATION, station, 2, GONE)
    await referrer.closes()
    consequent = referrer.consequences
    due = consequent._due

    async def late(known: KnownRows, after: UUID | None) -> Sequence[UUID]:
        found = await due(known, after)
        if found:
            await referrer.hears(STATION, station, 3, OPEN)
        return found

    monkeypatch.setattr(consequent, "_due", late)
    await consequent.step()
    assert (await referrer.left(station))["slots"] == 2
    assert await referrer.row(station) == (Known.OPEN, 3, False)


async def test_a_row_that_is_brought_back_at_the_last_moment_keeps_it_from_being_purged(
    referrer: Referrer, outside: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = await referrer.station(slots_made=1)
    await outside.execute("CREATE TABLE public.backup AS SELECT * FROM bookings.slots")
    await referrer.hears(STATION, station, 2, GONE)
    await referrer.closes()
    lock_due = consequences._lock_due

    async def restored(tx: Transaction, known: KnownRows, id: UUID) -> bool:
        if not await outside.fetchval("SELECT count(*) FROM bookings.slots"):
            await outside.execute("SET session_replication_role = replica; INSERT INTO bookings.slots SELECT * FROM public.backup")
        return await lock_due(tx, known, id)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(consequences, "_lock_due", restored)
        await referrer.consequences.step()
    assert await referrer.row(station) == (Known.CLOSED, 2, True)
    await referrer.consequences.step()
    assert await referrer.row(station) == (Known.PURGED, 2, True)
    assert await referrer.left(station) == NOTHING


async def test_a_write_that_is_still_open_is_waited_for_and_what_it_wrote_goes_too(referrer: Referrer) -> None:
    station = await referrer.station()
    async with referrer.app.transaction(tenant=station) as tx:
        await refers(tx, station, 1)
        await elsewhere(referrer.hears(STATION, station, 2, GONE))
        closing = asyncio.create_task(referrer.closes(), context=Context())
        await elsewhere(referrer.consequences.step())
        assert await asyncio.create_task(referrer.row(station), context=Context()) == (Known.CLOSING, 2, True)
    await closing
    await referrer.consequences.step()
    assert await referrer.left(station) == NOTHING


async def test_a_row_that_is_written_to_keeps_no_other_from_being_closed(
    referrer: Referrer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbcommon.references.closing.LOCK_SECONDS", 1)
    monkeypatch.setattr("dbcommon.references.closing.BATCH", 2)
    stations = [await referrer.station() for _ in range(5)]
    async with referrer.app.transaction(tenant=stations[0]) as tx:
        await refers(tx, stations[0], 1)
        for station in stations:
            await elsewhere(referrer.hears(STATION, station, 2, CLOSED))
        await elsewhere(referrer.closes())
        states = await asyncio.create_task(every_state(referrer), context=Context())
        assert [states[station] for station in stations] == [Known.CLOSING, *[Known.CLOSED] * 4]
    await referrer.closes()
    assert set((await every_state(referrer)).values()) == {Known.CLOSED}


async def test_rows_that_something_else_needs_stay_and_are_nobody_elses_trouble(
    referrer: Referrer, outside: asyncpg.Connection
) -> None:
    await outside.execute(
        "CREATE TABLE public.needing (LIKE bookings.slots);"
        "ALTER TABLE public.needing ADD FOREIGN KEY (station_id, local_date, local_start) REFERENCES bookings.slots"
    )
    stations = sorted([await referrer.station(slots_made=1), await referrer.station(slots_made=1)])
    needed, other = stations
    await outside.execute("INSERT INTO public.needing SELECT * FROM bookings.slots WHERE station_id = $1", needed)
    for station in stations:
        await referrer.hears(STATION, station, 2, GONE)
    await referrer.closes()
    await referrer.consequences.step()
    assert await referrer.row(needed) == (Known.CLOSED, 2, True)
    assert await referrer.row(other) == (Known.PURGED, 2, True)
    await outside.execute("DELETE FROM public.needing")
    await referrer.consequences.step()
    assert await referrer.row(needed) == (Known.PURGED, 2, True)


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.long)])
async def test_what_is_killed_at_any_await_is_finished_by_the_next(
    referrer: Referrer, outside: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    monkeypatch.setattr("dbcommon.references.consequences.BATCH", 2)
    quiet = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'bookings_platform' AND state <> 'idle' AND datname = current_database())"
    for at in range(1, 1_000, every):
        station, user = await referrer.station(slots_made=5), uuid4()
        await referrer.known[USER].store({user: Answer()})
        await referrer.customer(await referrer.station(), user)
        await referrer.hears(STATION, station, 2, GONE)
        await referrer.hears(USER, user, 2, GONE)
        await referrer.closes()
        killed = await Killed(referrer.consequences.step(), at, lambda: None)
        while not await outside.fetchval(quiet):
            await asyncio.sleep(0.001)
        for table, id in (("known_stations", station), ("known_users", user)):
            state = (await referrer.row(id, table) or (None,))[0]
            assert state in (Known.CLOSED, Known.PURGED)
            if state == Known.PURGED and table == "known_stations":
                assert await referrer.left(station) == NOTHING
        await referrer.consequences.step()
        assert await referrer.row(station) == (Known.PURGED, 2, True)
        assert await referrer.row(user, "known_users") == (Known.PURGED, 2, True)
        assert await referrer.left(station) == NOTHING
        assert not await referrer.rows("SELECT id FROM bookings.customers WHERE user_id = :id", id=user)
        if not killed:
            assert at > 10, "so few awaits: it was not killed where it matters"
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("state", [CLOSED, GONE])
async def test_an_answer_that_is_not_open_is_not_stored(referrer: Referrer, state: Referent) -> None:
    station = uuid4()
    with pytest.raises(ReferenceClosed):
        await referrer.known[STATION].store({uuid4(): Answer(), station: Answer(state=state)})
    assert await referrer.rows("SELECT id FROM bookings.known_stations") == []


async def test_a_running_service_takes_up_what_is_due(teppan: Teppan) -> None:
    connection = await asyncpg.connect(teppan.server.url(teppan.database))
    station = uuid4()
    due = "INSERT INTO bookings.known_stations (id, epoch, version, state, gone) VALUES ($1, $1, 2, 3, true)"
    await connection.execute(due, station)

    async def purged() -> None:
        assert await connection.fetchval("SELECT state FROM bookings.known_stations WHERE id = $1", station) == Known.PURGED

    await eventually(purged)
    await connection.close()


@pytest.mark.parametrize("table", ["known_stations", "known_users", "feed_head"])
async def test_another_table_of_known_rows_is_another_life(referrer: Referrer, outside: asyncpg.Connection, table: str) -> None:
    await outside.execute(f"ALTER TABLE bookings.{table} RENAME TO old; CREATE TABLE bookings.{table} (LIKE bookings.old)")
    lives = "SELECT ready_incarnation = bookings.incarnation() FROM bookings.feed_state"
    assert await outside.fetchval(lives) is False


async def test_after_a_restore_of_rows_alone_nothing_refers_before_a_new_handshake(referrer: Referrer) -> None:
    station = await referrer.station()
    async with referrer.platform.transaction() as tx:
        await tx.execute(forget_readiness("bookings"))
    with pytest.raises(Exception, match="not caught up with identity"):
        async with referrer.app.transaction(tenant=station) as tx:
            await refers(tx, station, 1)


async def every_state(referrer: Referrer) -> dict[UUID, Known]:
    return {row.id: Known(row.state) for row in await referrer.rows("SELECT id, state FROM bookings.known_stations")}


async def elsewhere(work: object) -> None:
    """Runs as somebody else, who holds no transaction."""
    await asyncio.create_task(work, context=Context())  # type: ignore[arg-type]  # a coroutine
