"""The lint of references: each check returns sentences that name a column and say what to do; none where all is well.

`unit/test_references_declared.py` runs those that need no database, `integration/test_references_catalog.py` those of the live
catalog (`tests/references_live.py`). Each is run on the real thing, and on a copy with a planted mistake.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from google.protobuf.descriptor_pool import DescriptorPool
from sqlalchemy import Column as TableColumn
from sqlalchemy import MetaData, Table

from local.database import SERVICES
from referring import Column

FOLLOWERS = ("bookings", "payments")
"""The services that follow others' feeds."""
_OF_ALL = {
    "requests.station_id": "of the request, whatever it names",
    "requests.request_id": "the caller's",
    "requests.made_id": "what the request made",
    "outbox.station_id": "whose the event is",
    "outbox.event_id": "its own",
    "outbox.entity_id": "of this service",
    "events.station_id": "whose the event is",
    "events.event_id": "its own",
    "events.entity_id": "of this service",
}
_OF_FOLLOWERS = {
    **dict.fromkeys(("parked_events.event_id", "dropped_events.event_id"), "its owner's: what lies aside"),
    **dict.fromkeys(("parked_events.entity_id", "dropped_events.entity_id"), "what it is about, known here or not"),
    **dict.fromkeys(("parked_events.station_id", "dropped_events.station_id"), "whose the event is"),
    "dangling_references.station_id": "whose the rows are that dangle",
}
EXCEPTIONS: Mapping[str, str] = {
    **{f"{service}.{name}": why for service in SERVICES for name, why in _OF_ALL.items()},
    **{f"{service}.{name}": why for service in FOLLOWERS for name, why in _OF_FOLLOWERS.items()},
    "bookings.lost_money.booking_id": "a note about it, for operators: no key, which would wait for who changes the booking",
    "bookings.lost_money.station_id": "likewise",
    "payments.booking_accounts.station_id": "a known row is not itself a reference",
    "payments.booking_accounts.booking_id": "its own: a known row",
    "payments.booking_accounts.customer_id": "a fact of the booking",
    "payments.payments.created_by": "who recorded it, of the verified token",
}
"""Columns that look like references, with the reason why none is declared."""


def undeclared(schemas: Sequence[MetaData], declared: Collection[Column], exceptions: Collection[str]) -> list[str]:
    """Columns that look like references, and are neither declared, nor local keys, nor listed; and keys to known rows."""
    names = set(map(name_of, declared))
    found = []
    for name, column in _columns(schemas):
        if name in names:
            continue
        if _known_keys(column):
            found.append(f"{name} is a key to known rows, and no reference: declare it in the protos, and run `make proto`")
        elif _looks_like_a_reference(column) and not _local_key(column) and name not in exceptions:
            found.append(
                f"{name} looks like a reference: declare it in the protos, and run `make proto`; "
                "or make it a local key; or list it in tests/references.py with its reason"
            )
    return found


def without_column(schemas: Sequence[MetaData], declared: Collection[Column]) -> list[str]:
    """References that are declared and have no column."""
    there = {name for name, _ in _columns(schemas)}
    return [
        f"{name_of(each)} is declared in the protos, and there is no such column: add it by a migration, or drop the declaration"
        for each in declared
        if name_of(each) not in there
    ]


def stale(schemas: Sequence[MetaData], declared: Collection[Column], exceptions: Collection[str]) -> list[str]:
    """Exceptions that are no longer needed."""
    columns, names = dict(_columns(schemas)), set(map(name_of, declared))
    found = []
    for name in exceptions:
        if (column := columns.get(name)) is None:
            why = "there is no such column"
        elif name in names:
            why = "it is declared in the protos"
        elif _local_key(column):
            why = "it is a local key"
        elif not _looks_like_a_reference(column):
            why = "nobody would take it for a reference"
        else:
            continue
        found.append(f"{name} is listed as an exception, and {why}: remove it from tests/references.py")
    return found


def not_stored(pool: DescriptorPool, owners: Mapping[str, MetaData], declared: Collection[Column]) -> list[str]:
    """References to types that their owner does not have: no message of that name, or no table of such things."""
    found = []
    for each in declared:
        entity = each.type.partition(".")[2]
        if each.owner not in owners or not _has_message(pool, f"teppan.{each.owner}.v1.{entity}"):
            why = "the contract has no such resource"
        elif f"{each.owner}.{entity.lower()}s" not in owners[each.owner].tables:
            why = f"{each.owner} stores no such thing"
        else:
            continue
        found.append(f"{name_of(each)} refers to {each.type}, and {why}: name a stored resource of its owner")
    return found


def name_of(column: Column) -> str:
    """A column as sentences name it: "bookings.customers.user_id"."""
    return f"{column.service}.{column.place}"


def _columns(schemas: Sequence[MetaData]) -> Iterator[tuple[str, TableColumn[object]]]:
    for schema in schemas:
        for table in schema.sorted_tables:
            yield from ((f"{table.schema}.{table.name}.{column.name}", column) for column in table.c)


def _looks_like_a_reference(column: TableColumn[object]) -> bool:
    return re.search(r"(_id|_by)$", column.name) is not None and column.type.python_type.__name__ == "UUID"


def _local_key(column: TableColumn[object]) -> bool:
    return bool(column.foreign_keys) and not _known_keys(column)


def _known_keys(column: TableColumn[object]) -> list[Table]:
    """The tables of known rows (no others have a fence) whose primary key it names, by itself or beside its station."""
    tables = [key.column.table for key in column.foreign_keys if key.column is next(iter(key.column.table.primary_key))]
    return [table for table in tables if "fence" in table.c]


def _has_message(pool: DescriptorPool, name: str) -> bool:
    try:
        pool.FindMessageTypeByName(name)
    except KeyError:
        return False
    return True
