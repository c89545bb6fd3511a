"""A reference is dangling after two observations of its owner in one epoch, the feed applied in between; and never otherwise."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from auditing import Dangling, Progress, Undecided
from dbcommon.audit import scanning
from dbcommon.audit.columns import Audited as Column
from dbcommon.database import Database
from dbcommon.references import Referent
from faults import InvalidArgument, PeerUnavailable
from local.database import Server
from referring import Rule
from rpccommon.registry import registry
from tests.integration.audited import CUSTOMERS, HEAD, LOGINS, SCHEDULES, SLOTS, Audited, audited_on
from tests.integration.referrer import COLUMNS, EPOCH, NEXT, STATION, USER, Answer

SILENT = PeerUnavailable("no answer", peer="identity")


@pytest.fixture
async def audited(server: Server, database: str) -> AsyncIterator[Audited]:
    async with audited_on(server, database) as made:
        yield made


async def test_where_all_is_there_nothing_is_found_and_each_thing_is_asked_about_once(audited: Audited) -> None:
    stations = {await audited.referrer.station(slots_made=3) for _ in range(2)}
    end = await audited.end()
    assert (end.columns, end.things_asked, end.dangling, end.undecided) == (5, 4, 0, 0)
    assert [set(asked) for asked in audited.identity.asked] == [stations, stations]
    assert await audited.found() == {}


async def test_what_dangles_is_found_exactly_with_rule_rows_and_station(audited: Audited) -> None:
    open, gone, purged = [await audited.referrer.station(slots_made=n) for n in (1, 2, 3)]
    closed, user = await audited.referrer.station(slots_made=1), uuid4()
    await audited.referrer.known[USER].store({user: Answer()})
    for station in (open, gone, closed):
        await audited.referrer.customer(station, user)
    audited.identity.gone = {
        gone: Referent.NOT_FOUND, purged: Referent.PURGED, closed: Referent.CLOSED, user: Referent.PURGED,
    }  # fmt: skip
    found = await audited.said(Dangling)
    assert {(each.column, each.id, each.tenant, each.rows, each.rule) for each in found} == {
        (SLOTS, gone, gone, 2, Rule.CASCADE),
        (SLOTS, purged, purged, 3, Rule.CASCADE),
        (SCHEDULES, gone, gone, 1, Rule.CASCADE),
        (SCHEDULES, purged, purged, 1, Rule.CASCADE),
        (CUSTOMERS, gone, gone, 1, Rule.RESTRICT),
        (LOGINS, user, None, 3, Rule.NULLIFY),
    }
    assert await audited.found() == {(each.column, each.id): each.rows for each in found}
    assert await audited.journal() == []
    assert (await audited.slots(gone), await audited.slots(purged)) == (2, 3), "nothing is repaired that nobody asked for"


async def test_what_is_found_again_keeps_since_when_and_what_is_there_again_goes(audited: Audited) -> None:
    stays, returns = await audited.brought_back(1), await audited.brought_back(1)
    first = {each.id: each.first_seen for each in await audited.said(Dangling)}
    del audited.identity.gone[returns]
    again = await audited.said(Dangling)
    assert [(each.id, each.first_seen) for each in again] == [(stays, first[stays])]
    assert await audited.found() == {(SLOTS, stays): 1}


async def test_an_owner_that_lies_once_is_not_believed(audited: Audited) -> None:
    station = await audited.referrer.station(slots_made=2)
    audited.identity.lies = [{station}]
    assert (await audited.end(SLOTS, repair=True)).dangling == 0
    assert len(audited.identity.asked) == 3, "twice, and once more from the start"
    audited.identity.lies = [set(), {station}]
    assert (await audited.end(SLOTS, repair=True)).undecided == 0
    assert await audited.slots(station) == 2


async def test_an_owner_that_contradicts_itself_again_decides_nothing(audited: Audited) -> None:
    station = await audited.referrer.station(slots_made=2)
    audited.identity.lies = [{station}, set(), {station}]
    undecided = await audited.said(Undecided, SLOTS, repair=True)
    assert [each.ids for each in undecided] == [[station]]
    assert await audited.slots(station) == 2
    assert await audited.found() == {}


async def test_what_is_undecided_now_stays_among_what_was_found(audited: Audited) -> None:
    station = await audited.brought_back(2)
    await audited.run(SLOTS)
    audited.identity.gone.clear()
    audited.identity.lies = [{station}, set(), {station}]
    assert (await audited.said(Undecided, SLOTS))[0].ids == [station]
    assert await audited.found() == {(SLOTS, station): 2}


@pytest.mark.parametrize("meets", [[None, SILENT, None, SILENT], [SILENT, None, SILENT], [None, SILENT, SILENT]])
async def test_an_error_is_no_observation(audited: Audited, meets: list[Exception | None]) -> None:
    station = await audited.brought_back(2)
    audited.identity.faults = list(meets)
    undecided = await audited.said(Undecided, SLOTS, repair=True)
    assert [each.why for each in undecided] == ["identity does not answer: PEER_UNAVAILABLE"]
    assert await audited.slots(station) == 2
    assert await audited.found() == {}


@pytest.mark.parametrize("meets", [[SILENT], [None, SILENT]])
async def test_after_one_error_it_is_observed_twice_from_the_start(audited: Audited, meets: list[Exception | None]) -> None:
    station = await audited.brought_back(2)
    audited.identity.faults = list(meets)
    assert [each.id for each in await audited.said(Dangling, SLOTS)] == [station]
    assert len(audited.identity.asked) == len(meets) + 2


async def test_an_owner_that_does_not_answer_ends_the_column_and_what_was_found_before_stays(audited: Audited) -> None:
    station = await audited.brought_back(2)
    await audited.run()
    audited.identity.faults = [SILENT, SILENT]
    steps = await audited.run(SLOTS, repair=True)
    assert [(each.ids, each.why) for each in steps if isinstance(each, Undecided)] == [
        ((), "identity does not answer: PEER_UNAVAILABLE")
    ]
    assert not any(each.complete for each in steps if isinstance(each, Progress))
    assert await audited.found() == {(SLOTS, station): 2}
    assert await audited.slots(station) == 2


@pytest.mark.parametrize("epochs", [[EPOCH, NEXT, EPOCH, NEXT], [NEXT, EPOCH, NEXT, EPOCH], [NEXT] * 4])
async def test_two_observations_in_different_epochs_are_not_two(audited: Audited, epochs: list[UUID]) -> None:
    station = await audited.brought_back(2)
    audited.identity.epochs = list(epochs)
    undecided = await audited.said(Undecided, SLOTS, repair=True)
    assert [each.ids for each in undecided] == [[station]]
    assert await audited.slots(station) == 2


async def test_without_the_feed_applied_in_between_nothing_is_decided(audited: Audited) -> None:
    station = await audited.brought_back(2)
    audited.identity.head_at = (EPOCH, HEAD + 1)
    assert (await audited.said(Undecided, SLOTS, repair=True))[0].ids == [station]
    assert await audited.slots(station) == 2
    audited.identity.head_at = (EPOCH, HEAD)
    await audited.outside.execute("UPDATE bookings.feed_state SET epoch = $1", NEXT)
    assert (await audited.said(Undecided, SLOTS, repair=True))[0].ids == [station]
    assert await audited.slots(station) == 2
    assert await audited.found() == {}, "nor is it said to dangle"


async def test_the_feed_is_waited_for(audited: Audited) -> None:
    station = await audited.brought_back(2)
    audited.identity.head_at, audited.feed_seconds = (EPOCH, HEAD + 1), 10.0

    async def heard() -> None:
        await audited.outside.execute("UPDATE bookings.feed_state SET position = $1", HEAD + 1)

    audited.identity.meanwhile = heard
    assert [each.id for each in await audited.said(Dangling, SLOTS)] == [station]


async def test_an_event_that_lies_aside_leaves_its_thing_undecided(audited: Audited) -> None:
    station, other = await audited.brought_back(2), await audited.brought_back(2)
    await audited.outside.execute(
        "INSERT INTO bookings.parked_events (owner, event_id, type, entity_id, epoch, position, version, event)"
        " VALUES ('identity', $1, $2, $3, $1, 1, 1, '')",
        uuid4(), STATION, station,
    )  # fmt: skip
    steps = await audited.run(SLOTS, repair=True)
    assert [each.ids for each in steps if isinstance(each, Undecided)] == [[station]]
    assert (await audited.slots(station), await audited.slots(other)) == (2, 0)


async def test_what_a_purge_is_about_to_remove_does_not_dangle(audited: Audited) -> None:
    station = await audited.referrer.station(slots_made=2)
    await audited.referrer.customer(station)
    audited.identity.gone[station] = Referent.PURGED
    await audited.referrer.hears(STATION, station, 2, Referent.PURGED)
    found = await audited.said(Dangling, SLOTS, CUSTOMERS)
    assert [(each.column, each.id) for each in found] == [(CUSTOMERS, station)], "RESTRICT has nothing to be waited for"


async def test_rows_that_go_meanwhile_do_not_dangle(audited: Audited) -> None:
    await audited.brought_back(2)

    async def went() -> None:
        await audited.outside.execute("DELETE FROM bookings.slots")

    audited.identity.meanwhile = went
    end = await audited.end(SLOTS)
    assert (end.dangling, end.undecided) == (0, 0)


async def test_only_columns_that_must_not_dangle_can_be_asked_for(audited: Audited) -> None:
    for name in ("bookings.created_by", "slots.local_date", "payments.station_id"):
        with pytest.raises(InvalidArgument) as refused:
            await audited.run(SLOTS, name)
        assert refused.value.fields.keys() == {"columns[1]"}


async def test_more_things_than_a_batch_are_each_asked_about_once_at_the_rate_that_is_allowed(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "BATCH_MAX", 3)
    stations = sorted([await audited.brought_back(n) for n in (1, 3, 1, 2, 1, 1, 4)])
    pauses: list[float] = []

    async def paused(seconds: float) -> None:
        pauses.append(seconds)

    audited.things_a_second = 500.0
    monkeypatch.setattr("dbcommon.audit.auditor.sleep", paused)
    steps = await audited.run(SLOTS)
    first = [asked for n, asked in enumerate(audited.identity.asked) if n % 2 == 0]
    assert first == [stations[:3], stations[3:6], stations[6:]]
    assert [each.things_asked for each in steps if isinstance(each, Progress)] == [0, 3, 6, 7]
    assert pauses == [2.0, 2.0]
    assert len(await audited.found()) == 7


@pytest.mark.long
async def test_a_million_rows_are_neither_sorted_nor_read(audited: Audited) -> None:
    await audited.plants(
        "INSERT INTO bookings.slots SELECT s.id, date '2030-01-01' + n / 50, time '00:00' + (n % 50) * interval '20 min', now(), now(), 2"
        " FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 50)) s, generate_series(0, 19999) n"
    )
    await audited.outside.execute("VACUUM ANALYZE bookings.slots")
    slots = next(each for each in COLUMNS if each.table == "slots")
    column = Column(column=slots, known=audited.referrer.known[STATION])
    platform: Database = audited.referrer.platform
    for after in (None, UUID(int=2**127)):
        values = {} if after is None else {"after": after}
        statement = f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) {scanning.distinct(column, after)}"
        plan = "\n".join(row[0] for row in await audited.referrer.rows(statement, **values))
        assert "Sort" not in plan, plan
        assert "Seq Scan" not in plan, plan
        assert "Index Only Scan" in plan, plan
    batch = await scanning.scan(platform, column, None)
    assert (len(batch.things), batch.last) == (50, None)
    about = await scanning.rows_about(platform, column)
    assert 900_000 < about < 1_100_000


async def test_every_audited_column_leads_an_index(audited: Audited) -> None:
    leads = "SELECT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] WHERE i.indrelid = $1::text::regclass AND i.indisvalid AND a.attname = $2)"
    for column in registry():
        if column.rule is not Rule.KEEP:
            table = f"{column.service}.{column.table}"
            assert await audited.outside.fetchval(leads, table, column.name), f"{table}.{column.name} is read as a whole"


async def test_the_worker_audits_now_and_then_and_repairs_nothing(audited: Audited) -> None:
    station = await audited.brought_back(2)
    working = asyncio.create_task(audited.auditor.watch(first_seconds=0.0, every_seconds=0.0))
    async with asyncio.timeout(20):
        while len(audited.identity.asked) < 5:  # two observations each time
            await asyncio.sleep(0.01)
    working.cancel()
    await asyncio.wait({working})
    assert await audited.found() == {(SLOTS, station): 2}
    assert (await audited.slots(station), await audited.journal()) == (2, [])
