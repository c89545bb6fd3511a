"""Every column that points into another service is declared in the contract, or listed with its reason; and nothing else is."""

import importlib
from dataclasses import replace

from google.protobuf import descriptor_pool
from sqlalchemy import Column as TableColumn
from sqlalchemy import ForeignKeyConstraint, MetaData, SmallInteger, Table, Text, Uuid
from teppan.bookings.v1 import bookings_pb2, customers_pb2
from teppan.identity.v1 import stations_pb2, users_pb2

from local.database import SERVICES
from referring import Column, Rule
from rpccommon.registry import registry
from tests.references import EXCEPTIONS, not_stored, stale, undeclared, without_column

SCHEMAS: dict[str, MetaData] = {service: importlib.import_module(f"{service}.tables").metadata for service in SERVICES}
POOL = descriptor_pool.Default()
LOADED = (bookings_pb2, customers_pb2, stations_pb2, users_pb2)
"""What the pool must know of: a type is found only once its module is imported."""
GHOST = Column(service="bookings", table="customers", name="ghost_id", type="identity.User", rule=Rule.KEEP)


def planted(service: str, table: str, *items: TableColumn[object] | ForeignKeyConstraint) -> list[MetaData]:
    """All schemas, and in a copy of one of them more columns or keys of a table."""
    copy = MetaData(schema=service)
    for each in SCHEMAS[service].sorted_tables:
        each.to_metadata(copy)
    Table(table, copy, *items, extend_existing=True)
    return [copy if name == service else schema for name, schema in SCHEMAS.items()]


def test_every_column_that_looks_like_a_reference_is_declared_or_a_local_key_or_listed_with_its_reason() -> None:
    assert undeclared([*SCHEMAS.values()], registry(), EXCEPTIONS) == []


def test_an_undeclared_column_is_named_with_what_to_do() -> None:
    sentence = (
        "{}: declare it in the protos, and run `make proto`; or make it a local key; "
        "or list it in tests/references.py with its reason"
    )
    schemas = planted("bookings", "customers", TableColumn("friend_id", Uuid), TableColumn("note_id", Text))
    assert undeclared(schemas, registry(), EXCEPTIONS) == [sentence.format("bookings.customers.friend_id looks like a reference")]
    schemas = planted("identity", "stations", TableColumn("opened_by", Uuid))
    assert undeclared(schemas, registry(), EXCEPTIONS) == [sentence.format("identity.stations.opened_by looks like a reference")]


def test_an_undeclared_key_to_known_rows_is_named_also_where_it_is_listed() -> None:
    key = ForeignKeyConstraint(["host"], ["bookings.known_users.id"])
    schemas = planted("bookings", "slots", TableColumn("host", Uuid), key)
    assert undeclared(schemas, registry(), {**EXCEPTIONS, "bookings.slots.host": ""}) == [
        "bookings.slots.host is a key to known rows, and no reference: declare it in the protos, and run `make proto`"
    ]


def test_a_local_key_needs_no_declaration() -> None:
    key = ForeignKeyConstraint(["station_id", "parent_id"], ["bookings.bookings.station_id", "bookings.bookings.id"])
    assert undeclared(planted("bookings", "bookings", TableColumn("parent_id", Uuid), key), registry(), EXCEPTIONS) == []


def test_every_declared_reference_has_its_column() -> None:
    assert without_column([*SCHEMAS.values()], registry()) == []


def test_a_declared_reference_without_a_column_is_named_with_what_to_do() -> None:
    sentence = (
        "bookings.customers.ghost_id is declared in the protos, and there is no such column: "
        "add it by a migration, or drop the declaration"
    )
    assert without_column([*SCHEMAS.values()], [*registry(), GHOST]) == [sentence]


def test_no_exception_is_listed_that_is_no_longer_needed() -> None:
    assert stale([*SCHEMAS.values()], registry(), EXCEPTIONS) == []


def test_a_stale_exception_is_named_with_why_it_is_stale() -> None:
    schemas = planted("bookings", "slots", TableColumn("kind_id", SmallInteger))
    exceptions = {
        "bookings.customers.gone_id": "there is no such column",
        "bookings.customers.user_id": "it is declared in the protos",
        "bookings.price_lines.booking_id": "it is a local key",
        "bookings.slots.kind_id": "nobody would take it for a reference",
    }
    assert stale(schemas, registry(), {**EXCEPTIONS, **exceptions}) == [
        f"{name} is listed as an exception, and {why}: remove it from tests/references.py" for name, why in exceptions.items()
    ]


def test_every_reference_names_a_resource_that_its_owner_stores() -> None:
    assert not_stored(POOL, SCHEMAS, registry()) == []


def test_a_reference_to_what_its_owner_does_not_have_is_named_with_what_to_do() -> None:
    types = {
        "identity.Ghost": "the contract has no such resource",
        "menus.Dish": "the contract has no such resource",
        "bookings.PriceLine": "bookings stores no such thing",
    }
    assert not_stored(POOL, SCHEMAS, [*registry(), *(replace(GHOST, type=type) for type in types)]) == [
        f"bookings.customers.ghost_id refers to {type}, and {why}: name a stored resource of its owner"
        for type, why in types.items()
    ]
