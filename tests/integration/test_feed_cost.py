"""What a batch costs: with a million events stored what it cost with a thousand."""

import json
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest

from local.database import Server
from tests.integration.feeding import EVENT, FILLED, Owner, owner_on
from tests.integration.watched import statements

FEW, BATCH, DAYS = 1_000, 500, 30


@pytest.fixture
async def own(server: Server, database: str) -> AsyncIterator[Owner]:
    """A feed, with partitions for thirty days that have passed and those ahead."""
    async with owner_on(server, database) as made:
        for days in range(2, DAYS):
            await made.partition(days)
        yield made


async def fill(own: Owner, first: int, last: int) -> None:
    """Events from `first` to `last`, as if they had been published over the thirty days, up to now."""
    time = f"now() - make_interval(secs => 86400.0 * {DAYS - 1} * ({last} - n) / {last})"
    epoch = (await own.feed.head()).epoch
    await own.admin.execute("TRUNCATE bookings.events")
    await own.admin.execute(FILLED.format("events", f"n, {time}, '{epoch}'::uuid, {EVENT}", first, last))
    await own.admin.execute("UPDATE bookings.feed_head SET position = $1", last)
    await own.admin.execute("ANALYZE bookings.events")


async def pages(own: Owner, position: int) -> int:
    """Pages that the statement of a batch reads, which is caught on its way, with either kind of plan; the dearer one."""
    epoch: UUID = (await own.feed.head()).epoch
    with statements() as said:
        events, reached = await own.feed.after((epoch, position), types=[], tenants=[], limit=BATCH)
    assert (len(events), reached) == (BATCH, (epoch, position + BATCH))
    # Stacks that other tests of this process share go on meanwhile, and their statements are seen too.
    statement, parameters = next(each for each in said if "bookings.events WHERE position >" in each[0] and position in each[1])
    await own.admin.execute(f"PREPARE batch AS {statement}")
    read = [await _pages(own, mode, parameters) for mode in ("force_custom_plan", "force_generic_plan")]
    await own.admin.execute("DEALLOCATE batch")
    return max(read)


async def _pages(own: Owner, mode: str, parameters: Sequence[int]) -> int:
    await own.admin.execute(f"SET plan_cache_mode = {mode}")
    values = ", ".join(str(each) for each in parameters)
    plan = json.loads(await own.admin.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE batch({values})"))[0]["Plan"]
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


@pytest.mark.parametrize("many", [50_000, pytest.param(1_000_000, marks=pytest.mark.long)])
async def test_a_batch_costs_what_it_cost_however_many_events_are_stored(own: Owner, many: int) -> None:
    await fill(own, 1, FEW)
    few = await pages(own, 0)
    await fill(own, 1, many)
    partitions = await own.admin.fetchval("SELECT count(*) FROM pg_inherits WHERE inhparent = 'bookings.events'::regclass")
    for position in (0, many // 2, many - BATCH):
        read = await pages(own, position)
        assert read <= few + 2 * partitions, "at most one page more of each partition's index, and one of its rows"
