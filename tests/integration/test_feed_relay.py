"""The relay: in order for each entity whoever commits when, each event once whenever it is killed, and never held up."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from itertools import pairwise
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from dbcommon import relay
from dbcommon.relay import Relay
from ids import new_id
from local.database import Server
from tests.integration.asked import eventually
from tests.integration.feeding import EVENT, FILLED, Owner, owner_on
from tests.integration.killed import killed_everywhere

X, Y, Z = (new_id() for _ in range(3))
SEQUENCE = ("seq", "true")
"""Two ways to read an outbox without a relay: what a cursor is made of, and which rows it may see."""
TRANSACTION = ("(xmin::text::bigint, seq)", "xmin::text::bigint < pg_snapshot_xmin(pg_current_snapshot())::text::bigint")


@pytest.fixture
async def own(server: Server, database: str) -> AsyncIterator[Owner]:
    """A feed."""
    async with owner_on(server, database) as made:
        yield made


class Reader:
    """Reads what follows its cursor, whenever it is asked to."""

    def __init__(self, own: Owner, way: tuple[str, str] | None) -> None:
        self._own = own
        self._way = way
        self._cursor = "0"
        self._place = (UUID(int=0), 0)
        self.read: list[tuple[UUID, int]] = []

    async def look(self) -> None:
        if self._way is None:
            await self._own.move()
            self._place = await self._own.feed.start(after=self._place if self.read else None, after_time=None, latest=False)
            events, self._place = await self._own.feed.after(self._place, types=[], tenants=[], limit=500)
            self.read += [(event.entity_id, event.version) for event in events]
            return
        cursor, visible = self._way
        zero = "(0, 0)" if cursor.startswith("(") else "0"
        after = zero if self._cursor == "0" else self._cursor
        rows = await self._own.admin.fetch(
            f"SELECT entity_id, version, xmin::text AS xid, seq FROM bookings.outbox WHERE {visible} AND {cursor} > {after} ORDER BY {cursor}"
        )
        self.read += [(row["entity_id"], row["version"]) for row in rows]
        if rows:
            self._cursor = f"({rows[-1]['xid']}, {rows[-1]['seq']})" if cursor.startswith("(") else str(rows[-1]["seq"])


@pytest.mark.parametrize(
    ("way", "holds"), [(None, True), (SEQUENCE, False), (TRANSACTION, False)], ids=["positions", "sequence", "transaction IDs"]
)
async def test_where_the_writer_that_began_first_commits_last_only_positions_keep_everything_in_order(
    own: Owner, way: tuple[str, str] | None, *, holds: bool
) -> None:
    reader = Reader(own, way)
    async with own.opened(Z) as first:  # the oldest transaction ID, and the oldest number
        await own.tell(X)
        await reader.look()
        await own.append_to(first, X)
        await own.tell(Y)
        await reader.look()
    await reader.look()
    everything = sorted(reader.read) == sorted([(X, 1), (X, 2), (Y, 1), (Z, 1)])
    right = everything and reader.read.index((X, 1)) < reader.read.index((X, 2))
    assert right is holds


async def test_positions_are_durable_before_anybody_reads_them_whatever_the_default_is(own: Owner) -> None:
    """Else a crash loses the last of them within an epoch, and who has read them passes over what gets the same positions."""
    database = await own.admin.fetchval("SELECT current_database()")
    await own.admin.execute(f"""ALTER ROLE bookings_platform IN DATABASE "{database}" SET synchronous_commit = off;
        CREATE TABLE public.seen (setting text);
        CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
          BEGIN INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
        CREATE TRIGGER see AFTER INSERT ON bookings.events FOR EACH STATEMENT EXECUTE FUNCTION public.see()""")
    await own.admin.execute(  # the role's setting holds for new connections
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'bookings_platform' AND datname = $1",
        database,
    )
    assert (await own.platform.look("SHOW synchronous_commit")).value() == "off"
    await own.published(X)
    assert {row["setting"] for row in await own.admin.fetch("SELECT setting FROM public.seen")} == {"on"}


async def orderly(own: Owner, count: int) -> None:
    """So many events were published, with dense positions, once each, and in the order of each entity."""
    events = await own.everything()
    assert [event.position for event in events] == list(range(1, count + 1))
    versions = defaultdict(list)
    for event in events:
        versions[event.entity_id].append(event.version)
    for seen in versions.values():
        assert all(one < other for one, other in pairwise(seen))


async def test_who_commits_while_a_backlog_is_moved_is_in_order_too(own: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BATCH", 2)
    async with own.opened(X):  # the lowest number, and the last to commit
        await own.tell(Y, Y, Y, Y, Y)
        assert await own.relay.step() == 2
    await own.tell(X)  # in line behind it, beyond the end of the round
    moved = [await own.relay.step() for _ in range(3)]
    assert sum(moved) == 5
    await orderly(own, 7)
    assert await own.relay.step() == 0


async def test_a_backlog_is_complete_only_once_those_that_were_passed_over_are_moved(
    own: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BATCH", 2)
    complete = "SELECT complete_until FROM bookings.feed_head"
    before = await own.admin.fetchval(complete)
    async with own.opened(X) as late:
        for _ in range(2):
            await own.append_to(late, X)
        await own.tell(Y, Y, Y)
        assert await own.relay.step() == 2
    assert await own.admin.fetchval(complete) == before
    assert await own.relay.step() == 3, (
        "the rest of the round, and of those that were passed over in it as many as are moved at once"
    )
    assert await own.admin.fetchval(complete) == before
    assert await own.relay.step() == 1
    assert await own.admin.fetchval(complete) > before
    await orderly(own, 6)


async def test_a_clock_that_ran_ahead_is_followed_back(own: Owner) -> None:
    await own.tell(X)
    await own.relay.step()
    ahead = "UPDATE bookings.feed_head SET complete_until = now() + interval '1 hour'"
    await own.admin.execute(ahead)
    await own.relay.step()
    assert await own.admin.fetchval("SELECT complete_until <= clock_timestamp() FROM bookings.feed_head")


async def test_a_round_does_not_outlive_its_epoch(own: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BATCH", 2)
    await own.tell(X, X, X)
    await own.admin.execute("CREATE TABLE bookings.saved AS SELECT * FROM bookings.outbox")
    assert await own.relay.step() == 2
    await own.admin.execute("DELETE FROM bookings.events; UPDATE bookings.feed_head SET position = 0; DELETE FROM bookings.outbox")
    await own.admin.execute("INSERT INTO bookings.outbox OVERRIDING SYSTEM VALUE SELECT * FROM bookings.saved")
    await own.reborn()  # the database was restored to what it was before the step
    await own.move()
    await orderly(own, 3)


async def test_a_relay_that_is_killed_at_any_await_loses_no_event_and_doubles_none(
    own: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BATCH", 2)
    count = 0

    async def work() -> None:
        killed = Relay(own.platform, "bookings", new_id)
        while await killed.step():
            pass

    await own.tell(X, Y, X, Y, Y)
    async for _ in killed_everywhere(own.platform, own.admin, work):
        count += 5
        await own.move()
        await orderly(own, count)
        assert await own.admin.fetchval("SELECT count(*) FROM bookings.outbox") == 0
        await own.tell(X, Y, X, Y, Y)


async def test_who_reads_the_partitions_for_long_does_not_hold_up_the_relay(own: Owner) -> None:
    await own.published(X)
    await own.age(1, 1, days=31)
    async with own.admin.transaction():
        await own.admin.execute("SELECT FROM bookings.events")  # as a backup does
        with capture_logs() as lines:
            task = asyncio.create_task(own.relay.run())
            await own.tell(Y)
            await eventually(lambda: published(own, 2))
        assert [line["log_level"] for line in lines] == ["warning"]
    task.cancel()
    await asyncio.wait({task})
    await own.roll()
    assert await own.admin.fetchval("SELECT dropped_through FROM bookings.feed_head") == 1


async def published(own: Owner, position: int) -> None:
    assert await own.admin.fetchval("SELECT position FROM bookings.feed_head") == position


async def pages(own: Owner) -> int:
    """Pages that the relay's choice of its next batch reads, as its statement asks for it."""
    here = own.relay._round
    assert here
    lines = await own.admin.fetch(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT TEXT) SELECT seq FROM bookings.outbox"
        f" WHERE seq > {here.after} AND seq <= {here.until} ORDER BY seq LIMIT {relay.BATCH}"
    )
    counts = next(line[0] for line in lines if "Buffers: shared" in line[0]).split("shared ")[1].split()
    return sum(int(each.split("=")[1]) for each in counts if each.startswith(("hit", "read")))


@pytest.mark.parametrize("backlog", [20_000, pytest.param(1_000_000, marks=pytest.mark.long)])
async def test_a_step_costs_what_it_cost_however_much_was_moved_before(own: Owner, backlog: int) -> None:
    await own.admin.execute("ALTER TABLE bookings.outbox SET (autovacuum_enabled = off)")
    columns = "(event_id, type, entity_id, station_id, version, referent_state, payload)"
    await own.admin.execute(FILLED.format(f"outbox {columns}", EVENT, 1, backlog))
    assert await own.relay.step() == relay.BATCH
    first = await pages(own)
    for _ in range(backlog // relay.BATCH - 2):
        await own.relay.step()
    assert await pages(own) <= first + 5
    await own.move()
    assert (await own.feed.head()).position == backlog
