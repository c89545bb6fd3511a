"""What the contract declares of references stands in the live catalog, and nothing that it forbids does."""

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import grpc
import pytest
from teppan.common.v1 import references_pb2
from teppan.identity.v1 import users_pb2

from local.database import SERVICES, Server
from referring import Column, Rule
from rpccommon.registry import registry
from tests.integration.stage import Teppan, new
from tests.references import name_of
from tests.references_live import Check, crossing, overguarded, overlooking, unguarded, unserved

GUARDED = [column for column in registry() if column.rule != Rule.KEEP]
UNGUARDED = "{} is {}, and no guard locks its known row: add dbcommon.references.guard by a migration"


@pytest.fixture
async def catalog(server: Server, database: str) -> AsyncIterator[asyncpg.Connection]:
    """Of a database of the test's own, for its administrator."""
    connection = await asyncpg.connect(server.url(database))
    yield connection
    await connection.close()


@pytest.fixture
def column(request: pytest.FixtureRequest) -> Column:
    """A column of the contract, by name."""
    return next(each for each in registry() if name_of(each) == request.param)


async def test_no_foreign_key_crosses_a_schema(catalog: asyncpg.Connection) -> None:
    assert await crossing(catalog) == []


async def test_a_foreign_key_across_schemas_is_named_with_what_to_do(catalog: asyncpg.Connection) -> None:
    await catalog.execute(
        "ALTER TABLE bookings.customers ADD CONSTRAINT planted FOREIGN KEY (user_id) REFERENCES identity.users (id)"
    )
    sentence = (
        "bookings.customers has a foreign key into another schema, planted to identity.users: "
        "drop it, and declare a reference in the protos"
    )
    assert await crossing(catalog) == [sentence]


async def test_no_role_of_a_service_sees_another_schema(catalog: asyncpg.Connection) -> None:
    assert await overlooking(catalog) == []


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("kind", ["owner", "app", "platform"])
async def test_a_role_that_asks_another_schema_is_refused(server: Server, database: str, service: str, kind: str) -> None:
    other = SERVICES[SERVICES.index(service) - 1]
    connection = await asyncpg.connect(server.url(database, f"{service}_{kind}"))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=f"permission denied for schema {other}"):
            await connection.fetch(f"SELECT * FROM {other}.requests")
    finally:
        await connection.close()


async def test_a_role_that_sees_another_schema_is_named_with_what_to_do(catalog: asyncpg.Connection) -> None:
    await catalog.execute("GRANT USAGE ON SCHEMA identity TO bookings_app")
    assert await overlooking(catalog) == ["bookings_app sees the schema identity: revoke it there, and ask identity over gRPC"]


async def test_every_reference_but_those_that_may_dangle_has_a_key_and_a_guard(catalog: asyncpg.Connection) -> None:
    assert await unguarded(catalog, registry()) == []


@pytest.mark.parametrize("column", [name_of(each) for each in GUARDED], indirect=True)
async def test_a_reference_whose_guard_is_off_or_gone_is_named_with_what_to_do(catalog: asyncpg.Connection, column: Column) -> None:
    table, guard = f"{column.service}.{column.table}", f"{column.table}_{column.name}_guard"
    for planted in (f"ALTER TABLE {table} DISABLE TRIGGER {guard}", f"DROP TRIGGER {guard} ON {table}"):
        await catalog.execute(planted)
        assert await unguarded(catalog, registry()) == [UNGUARDED.format(name_of(column), column.rule.name)]


@pytest.mark.parametrize(
    "when",
    [
        "AFTER INSERT OR UPDATE OF user_id ON bookings.customers FOR EACH ROW",
        "BEFORE INSERT ON bookings.customers FOR EACH ROW",
        "BEFORE INSERT OR UPDATE OF name ON bookings.customers FOR EACH ROW",
        "BEFORE INSERT OR UPDATE OF user_id ON bookings.customers FOR EACH ROW WHEN (NEW.phone IS NULL)",
    ],
)
async def test_a_guard_that_looks_away_is_named_with_what_to_do(catalog: asyncpg.Connection, when: str) -> None:
    await catalog.execute("DROP TRIGGER customers_user_id_guard ON bookings.customers")
    await catalog.execute(f"CREATE TRIGGER customers_user_id_guard {when} EXECUTE FUNCTION bookings.customers_user_id_guard()")
    assert await unguarded(catalog, registry()) == [UNGUARDED.format("bookings.customers.user_id", "NULLIFY")]


@pytest.mark.parametrize("change", ["SECURITY INVOKER", "STABLE", "RESET search_path"])
async def test_a_guard_that_runs_in_another_way_is_named_with_what_to_do(catalog: asyncpg.Connection, change: str) -> None:
    await catalog.execute(f"ALTER FUNCTION bookings.customers_user_id_guard() {change}")
    assert await unguarded(catalog, registry()) == [UNGUARDED.format("bookings.customers.user_id", "NULLIFY")]


async def test_a_guard_that_locks_another_table_is_named_with_what_to_do(catalog: asyncpg.Connection) -> None:
    await catalog.execute("DROP TRIGGER customers_user_id_guard ON bookings.customers")
    await catalog.execute("DROP FUNCTION bookings.customers_user_id_guard()")
    await catalog.execute("ALTER FUNCTION bookings.customers_station_id_guard() RENAME TO customers_user_id_guard")
    await catalog.execute(
        "CREATE TRIGGER customers_user_id_guard BEFORE INSERT OR UPDATE OF user_id ON bookings.customers "
        "FOR EACH ROW EXECUTE FUNCTION bookings.customers_user_id_guard()"
    )
    assert await unguarded(catalog, registry()) == [UNGUARDED.format("bookings.customers.user_id", "NULLIFY")]


@pytest.mark.parametrize(
    ("column", "key"),
    [
        ("bookings.customers.user_id", "customers_user_id_fkey"),
        ("bookings.slots.station_id", "slots_station_id_fkey"),
        ("payments.payments.booking_id", "payments_station_id_booking_id_fkey"),
    ],
    indirect=["column"],
)
async def test_a_reference_without_a_key_is_named_with_what_to_do(catalog: asyncpg.Connection, column: Column, key: str) -> None:
    await catalog.execute(f"ALTER TABLE {column.service}.{column.table} DROP CONSTRAINT {key}")
    assert await unguarded(catalog, registry()) == [
        f"{name_of(column)} is {column.rule.name}, and no foreign key to a known row: add one by a migration"
    ]


async def test_no_reference_that_may_dangle_has_a_key_or_a_guard(catalog: asyncpg.Connection) -> None:
    assert await overguarded(catalog, registry()) == []


@pytest.mark.parametrize(
    "planted",
    [
        "ALTER TABLE bookings.bookings ADD FOREIGN KEY (created_by) REFERENCES bookings.known_users (id)",
        "CREATE TRIGGER bookings_created_by_guard BEFORE INSERT OR UPDATE ON bookings.bookings FOR EACH ROW EXECUTE FUNCTION bookings.customers_user_id_guard()",
    ],
)
async def test_a_reference_that_may_dangle_and_is_kept_from_it_is_named_with_what_to_do(
    catalog: asyncpg.Connection, planted: str
) -> None:
    await catalog.execute(planted)
    assert await overguarded(catalog, registry()) == [
        "bookings.bookings.created_by may dangle (KEEP), and has a key or a guard: drop them, or declare another rule"
    ]


async def test_the_owner_of_whatever_is_referred_to_answers_for_it(teppan: Teppan) -> None:
    things = await one_of_each(teppan)
    assert await unserved(registry(), things, check_by(teppan)) == []


async def test_a_type_that_its_owner_does_not_serve_is_named_with_what_to_do(teppan: Teppan) -> None:
    things = await one_of_each(teppan)
    more = [replace(GUARDED[0], type="identity.Membership"), replace(GUARDED[0], type="identity.Ghost")]
    things["identity.Membership"] = things["identity.Station"]
    assert await unserved([*registry(), *more], things, check_by(teppan)) == [
        "nobody makes a identity.Ghost here: add one to the things of this test",
        "identity does not know its own identity.Membership: serve the type in CheckReferences (identity, Referents)",
    ]


async def one_of_each(teppan: Teppan) -> dict[str, tuple[str, str]]:
    """A thing of each type that is referred to, by the station that it must belong to and its ID."""
    station = await teppan.station()
    booking = await teppan.booking(station, await teppan.customer(station))
    person = users_pb2.CreateUserRequest(request_id=new(), name="Ann", email=f"{new()}@example.com", password="x" * 12)
    user = (await teppan.users.CreateUser(person, metadata=teppan.admin)).user
    return {
        "identity.Station": (station, station),
        "identity.User": ("", user.user_id),
        "bookings.Booking": (station, booking.booking_id),
    }


def check_by(teppan: Teppan) -> Check:
    """Asks the owner of a type, as another service does."""

    async def check(type: str, thing: tuple[str, str]) -> bool:
        item = references_pb2.ReferenceItem(station_id=thing[0], id=thing[1])
        request = references_pb2.CheckReferencesRequest(type=type, items=[item])
        owner = teppan.references(type.partition(".")[0])
        try:
            answer = await owner.CheckReferences(request, metadata=teppan.service("payments"))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return False
        return bool(answer.answers[0].state == references_pb2.REFERENT_STATE_OPEN)

    return check
