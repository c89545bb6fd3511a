"""Who refers registers with the owner: once, for good, and not past a purge that did not ask it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from teppan.common.v1 import options_pb2
from teppan.common.v1 import references_pb2 as pb

from dbcommon.database import Database
from dbcommon.feed import Feed
from dbcommon.references import Registry
from dbcommon.relay import Relay
from faults import InvalidArgument, PurgeUnfinished
from identity.usecases.referents import TYPES
from ids import new_id
from local.database import Server
from referring import Column, Rule
from rpccommon.registry import registry as contract
from tests.integration.stage import Teppan, eventually, refused

STATION, USER = TYPES
NEWCOMER = Column(service="loyalty", table="cards", name="station_id", type=STATION, rule=Rule.RESTRICT)
MEMBER = Column(service="bookings", table="slots", name="station_id", type=STATION, rule=Rule.CASCADE)


@pytest.fixture
async def platform(server: Server, database: str) -> AsyncIterator[Database]:
    made = Database(server.url(database, "identity_platform"), pool_size=4)
    await Relay(made, "identity", new_id).step()
    yield made
    await made.close()


@pytest.fixture
async def rows(server: Server, database: str) -> AsyncIterator[asyncpg.Connection]:
    """Sees everything."""
    connection = await asyncpg.connect(server.url(database))
    yield connection
    await connection.close()


@pytest.fixture
def registry(platform: Database) -> Registry:
    return Registry(platform, "identity", Feed(platform, "identity"), contract=contract(), types=TYPES)


async def expected(platform: Database, registry: Registry, type: str = STATION) -> Any:
    async with platform.transaction() as tx:
        return await registry.expected(tx, type)


async def purging(rows: asyncpg.Connection, type: str = STATION, since: str = "now()") -> None:
    await rows.execute(f"INSERT INTO identity.purges VALUES ($1, $2, $2, 1, now(), {since})", type, new_id())


async def test_the_contract_is_expected_without_any_registration_but_what_may_dangle(
    platform: Database, registry: Registry
) -> None:
    stations, users = await expected(platform, registry), await expected(platform, registry, USER)
    assert {service: set(columns) for service, columns in stations.columns.items()} == {
        "bookings": {"bookings.station_id", "customers.station_id", "schedules.station_id", "slots.station_id"},
        "payments": {"payments.station_id"},
    }
    assert users.columns == {"bookings": {"customers.user_id": Rule.NULLIFY}}


async def test_a_newcomer_is_expected_from_its_registration_on_which_counts_once(
    platform: Database, registry: Registry, rows: asyncpg.Connection
) -> None:
    before = await expected(platform, registry)
    assert NEWCOMER.service not in before.columns
    head = await registry.register([NEWCOMER])
    assert head == (await rows.fetchval("SELECT epoch FROM identity.feed_head"), 0)
    after = await expected(platform, registry)
    assert after.columns["loyalty"] == {"cards.station_id": Rule.RESTRICT}
    assert after.version == before.version + 1
    await registry.register([NEWCOMER])
    assert await expected(platform, registry) == after
    await registry.register([NEWCOMER, replace(NEWCOMER, name="home_id")])
    assert (await expected(platform, registry)).version == after.version + 1
    assert set((await expected(platform, registry)).columns["loyalty"]) == {"cards.station_id", "cards.home_id"}


async def test_a_column_that_may_dangle_is_kept_and_not_expected(platform: Database, registry: Registry) -> None:
    await registry.register([replace(NEWCOMER, rule=Rule.KEEP)])
    assert "loyalty" not in (await expected(platform, registry)).columns


async def test_a_newcomer_waits_while_a_thing_of_that_type_is_on_its_way_out(registry: Registry, rows: asyncpg.Connection) -> None:
    await purging(rows)
    with pytest.raises(PurgeUnfinished):
        await registry.register([NEWCOMER])
    assert await rows.fetchval("SELECT count(*) FROM identity.referrers") == 0
    await registry.register([replace(NEWCOMER, type=USER)])
    await rows.execute("DELETE FROM identity.purges")
    await purging(rows, since="NULL")  # it asks again where the registry has changed by the time it would go on
    await registry.register([NEWCOMER])


async def test_who_is_registered_or_named_by_the_contract_does_not_wait(registry: Registry, rows: asyncpg.Connection) -> None:
    await registry.register([NEWCOMER])
    await purging(rows)
    await registry.register([NEWCOMER])
    await registry.register([MEMBER])


async def test_who_leaves_is_expected_no_more_and_whoever_asked_before_asks_again(
    platform: Database, registry: Registry, rows: asyncpg.Connection
) -> None:
    await registry.register([NEWCOMER, replace(NEWCOMER, name="home_id")])
    before = await expected(platform, registry)
    await registry.leave("loyalty", ["cards.home_id"])
    after = await expected(platform, registry)
    assert (set(after.columns["loyalty"]), after.version) == ({"cards.station_id"}, before.version + 1)
    assert [(each.column, each.rule, each.in_contract) for each in await registry.referrers() if each.service == "loyalty"] == [
        ("cards.station_id", Rule.RESTRICT, False)
    ]


@pytest.mark.parametrize(
    ("service", "column", "why"),
    [
        ("loyalty", "cards.owner_id", "loyalty has registered no such column"),
        ("bookings", "slots.station_id", "the contract names it"),
    ],
)
async def test_who_may_not_leave_is_told_why_and_nobody_leaves_then(
    platform: Database, registry: Registry, service: str, column: str, why: str
) -> None:
    await registry.register([replace(NEWCOMER, service=service), replace(MEMBER, service=service)])
    before = await expected(platform, registry)
    with pytest.raises(InvalidArgument) as refusal:
        await registry.leave(service, ["cards.station_id", column])
    assert list(refusal.value.fields) == [column]
    assert why in refusal.value.fields[column]
    assert await expected(platform, registry) == before


async def test_a_registration_is_not_acknowledged_before_it_is_durable_whatever_the_default_is(
    server: Server, database: str, platform: Database, rows: asyncpg.Connection
) -> None:
    await rows.execute(f"""ALTER ROLE identity_platform IN DATABASE "{database}" SET synchronous_commit = off;
        CREATE TABLE public.seen (setting text);
        CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
          BEGIN INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
        CREATE TRIGGER see AFTER INSERT ON identity.referrers FOR EACH ROW EXECUTE FUNCTION public.see()""")
    fresh = Database(server.url(database, "identity_platform"), pool_size=2)  # the role's setting holds for new connections
    try:
        async with fresh.transaction() as tx:
            assert (await tx.execute("SHOW synchronous_commit")).value() == "off"
        await Registry(fresh, "identity", Feed(fresh, "identity"), contract=(), types=TYPES).register([NEWCOMER])
    finally:
        await fresh.close()
    assert await rows.fetchval("SELECT setting FROM public.seen") == "on"


async def test_things_of_others_are_refused_each_by_its_place(registry: Registry, rows: asyncpg.Connection) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        await registry.register([NEWCOMER, replace(NEWCOMER, type="bookings.Booking")])
    assert set(refusal.value.fields) == {"columns[1].type"}
    assert await rows.fetchval("SELECT count(*) FROM identity.referrers") == 0


async def test_services_register_at_their_start_what_the_contract_says(teppan: Teppan) -> None:
    rows = await asyncpg.connect(teppan.server.url(teppan.database))
    try:
        for owner in ("identity", "bookings"):
            found = await rows.fetch(f'SELECT service, type, "column", rule FROM {owner}.referrers')
            declared = [column for column in contract() if column.owner == owner and column.rule is not Rule.KEEP]
            assert {tuple(row) for row in found} == {
                (column.service, column.type, column.place, column.rule) for column in declared
            }
    finally:
        await rows.close()


def registration(type: str = STATION) -> pb.RegisterReferrerRequest:
    columns = [pb.ReferrerColumn(type=type, column="slots.station_id", on_delete=options_pb2.ON_DELETE_CASCADE)]
    return pb.RegisterReferrerRequest(columns=columns)


async def test_only_services_register_and_count_and_stream(teppan: Teppan) -> None:
    id = str(UUID(int=1))
    count = pb.CountReferencesRequest(type=STATION, id=id, epoch=id, version=1)
    for who in (teppan.admin, teppan.bearer()):
        stub = teppan.references("identity")
        for call in (
            stub.RegisterReferrer(registration(), metadata=who),
            stub.CountReferences(count, metadata=who),
            stub.StreamReferents(pb.StreamReferentsRequest(type=STATION), metadata=who),
        ):
            assert (await refused(call)).reason == "PERMISSION_DENIED"


async def test_a_registration_at_a_service_that_owns_nothing_of_the_kind_is_refused(teppan: Teppan) -> None:
    for service in ("bookings", "payments"):
        answer = await refused(teppan.references(service).RegisterReferrer(registration(), metadata=teppan.service("bookings")))
        assert (answer.reason, set(answer.fields)) == ("FIELDS_INVALID", {"columns[0].type"})


async def test_the_head_that_is_answered_was_read_after_the_registration(teppan: Teppan) -> None:
    await teppan.station()

    async def later() -> None:
        answer = await teppan.references("identity").RegisterReferrer(registration(), metadata=teppan.service("bookings"))
        assert answer.position > 0
        assert UUID(answer.epoch)

    await eventually(later)
