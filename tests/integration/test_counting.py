"""What is left of references is counted only where nothing new can refer, by the role that sees all rows; else it is no answer."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextvars import Context
from uuid import UUID, uuid4

import asyncpg
import pytest

from dbcommon.database import Database
from dbcommon.references import CannotCount, Counting, KnownRows, Referent
from faults import InvalidArgument, NotClosedYet
from local.database import Server
from tests.integration.referrer import COLUMNS, EPOCH, NEXT, STATION, USER, Answer, Referrer, referrer_on, refers

OPEN, CLOSED, GONE = Referent.OPEN, Referent.CLOSED, Referent.PURGED


@pytest.fixture
async def referrer(server: Server, database: str) -> AsyncIterator[Referrer]:
    async with referrer_on(server, database) as made:
        yield made


def counting(referrer: Referrer, platform: Database | None = None) -> Counting:
    known: list[KnownRows] = list(referrer.known.values())
    return Counting(platform or referrer.platform, "bookings", known, COLUMNS)


async def count(
    referrer: Referrer, type: str, id: UUID, version: int, *, epoch: UUID = EPOCH, platform: Database | None = None
) -> Mapping[str, int]:
    """What is left, by column."""
    found = await counting(referrer, platform).count(type, id, epoch=epoch, version=version)
    return {column.place: left for column, left in found}


async def closed(referrer: Referrer, slots_made: int = 3) -> UUID:
    """A station with rows that refer to it, closed at version 2."""
    station = await referrer.station(slots_made=slots_made)
    await referrer.hears(STATION, station, 2, CLOSED)
    await referrer.closes()
    return station


async def test_every_column_but_those_that_may_dangle_is_counted(referrer: Referrer) -> None:
    station = await referrer.station(slots_made=3)
    user = uuid4()
    await referrer.known[USER].store({user: Answer()})
    await referrer.customer(station, user)
    await referrer.customer(await referrer.station(), user)
    await referrer.hears(STATION, station, 2, CLOSED)
    await referrer.hears(USER, user, 5, CLOSED)
    await referrer.closes()
    assert await count(referrer, STATION, station, 2) == {
        "bookings.station_id": 0, "customers.station_id": 1, "schedules.station_id": 1, "slots.station_id": 3,
    }  # fmt: skip
    assert await count(referrer, USER, user, 5) == {"customers.user_id": 2}


async def test_more_than_a_thousand_are_not_counted(referrer: Referrer) -> None:
    station = await closed(referrer, slots_made=1_100)
    assert (await count(referrer, STATION, station, 2))["slots.station_id"] == 1_000


async def test_what_is_purged_here_is_counted_too(referrer: Referrer) -> None:
    station = await referrer.station(slots_made=2)
    await referrer.hears(STATION, station, 2, GONE)
    await referrer.closes()
    assert (await count(referrer, STATION, station, 2))["slots.station_id"] == 2
    await referrer.consequences.step()
    assert set((await count(referrer, STATION, station, 2)).values()) == {0}


@pytest.mark.parametrize(("epoch", "version"), [(EPOCH, 1), (EPOCH, 3), (NEXT, 2)])
async def test_another_version_or_epoch_is_not_closed_yet(referrer: Referrer, epoch: UUID, version: int) -> None:
    station = await closed(referrer)
    with pytest.raises(NotClosedYet):
        await count(referrer, STATION, station, version, epoch=epoch)


async def test_open_closing_and_unknown_are_not_closed_yet(referrer: Referrer) -> None:
    is_open, closing = await referrer.station(), await referrer.station()
    await referrer.hears(STATION, closing, 1, CLOSED, epoch=NEXT)  # the same version: of another epoch, so it applies
    await referrer.hears(STATION, closing, 2, CLOSED)
    for station, version in ((is_open, 1), (closing, 2), (uuid4(), 1)):
        with pytest.raises(NotClosedYet):
            await count(referrer, STATION, station, version)


async def test_what_was_closed_in_an_epoch_that_the_feed_is_not_in_is_not_acknowledged(referrer: Referrer) -> None:
    station = await closed(referrer)
    async with referrer.platform.transaction() as tx:
        await tx.execute("UPDATE bookings.feed_state SET epoch = NULL, cursor = NULL")  # a resynchronisation is under way
    with pytest.raises(NotClosedYet):
        await count(referrer, STATION, station, 2)


async def test_what_was_closed_at_the_same_version_of_an_earlier_epoch_is_not_acknowledged(referrer: Referrer) -> None:
    station = await closed(referrer)
    async with referrer.platform.transaction() as tx:
        await tx.execute("UPDATE bookings.feed_state SET epoch = :epoch", {"epoch": NEXT})
    for epoch in (EPOCH, NEXT):
        with pytest.raises(NotClosedYet):
            await count(referrer, STATION, station, 2, epoch=epoch)


async def test_while_an_event_of_the_thing_lies_aside_it_is_not_closed_yet(referrer: Referrer, outside: asyncpg.Connection) -> None:
    station, other = await closed(referrer), await closed(referrer)
    await outside.execute(
        "INSERT INTO bookings.parked_events (owner, event_id, type, entity_id, epoch, position, version, event)"
        " VALUES ('identity', $1, 'identity.Station', $1, $1, 1, 3, '')",
        station,
    )
    with pytest.raises(NotClosedYet):
        await count(referrer, STATION, station, 2)
    assert (await count(referrer, STATION, other, 2))["slots.station_id"] == 3


async def test_a_write_that_commits_after_the_look_was_refused_or_is_counted(referrer: Referrer) -> None:
    station = await referrer.station()
    async with referrer.app.transaction(tenant=station) as tx:
        await refers(tx, station, 1)
        await elsewhere(referrer.hears(STATION, station, 2, CLOSED))
        with pytest.raises(NotClosedYet):
            await elsewhere(count(referrer, STATION, station, 2))
    await referrer.closes()
    assert (await count(referrer, STATION, station, 2))["slots.station_id"] == 1


@pytest.mark.parametrize("type", ["bookings.Customer", "identity.Nobody"])
async def test_a_type_that_nothing_here_refers_to_is_no_zero(referrer: Referrer, type: str) -> None:
    with pytest.raises(InvalidArgument):
        await count(referrer, type, uuid4(), 1)


async def test_the_role_of_one_tenant_does_not_answer(referrer: Referrer) -> None:
    station = await closed(referrer)
    with pytest.raises(CannotCount, match="on the primary"):
        await count(referrer, STATION, station, 2, platform=referrer.app)


@pytest.mark.parametrize(
    "policy",
    [
        "DROP POLICY platform_all ON bookings.slots",
        "ALTER POLICY platform_all ON bookings.slots USING (capacity > 5)",
        "ALTER POLICY platform_all ON bookings.slots TO bookings_app",
        "CREATE POLICY less ON bookings.slots AS RESTRICTIVE TO bookings_platform USING (capacity > 5)",
    ],
)
async def test_a_policy_that_hides_rows_is_no_zero(referrer: Referrer, outside: asyncpg.Connection, policy: str) -> None:
    station = await closed(referrer)
    await outside.execute(policy)
    with pytest.raises(CannotCount, match="slots"):
        await count(referrer, STATION, station, 2)


async def elsewhere(work: object) -> None:
    """Runs as somebody else, who holds no transaction."""
    await asyncio.create_task(work, context=Context())  # type: ignore[arg-type]  # a coroutine
