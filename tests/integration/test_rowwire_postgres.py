"""Rows that PostgreSQL itself wrote, against the messages made from the driver's own values of the same rows."""

import struct
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import asyncpg
import pytest

from local.database import Server
from rowwire import COPY_HEADER, COPY_TRAILER, Column, Encoder, Fault, Framing, Plan, RowInvalid, Type
from tests.conftest import new_database
from tests.rowwire_stage import EVERY, page_of

COLUMNS = [
    Column(name="id", type=Type.UUID, field="plain_string"), Column(name="words", type=Type.TEXT, field="below.plain_string"),
    Column(name="code", type=Type.TEXT, field="below.optional_string"), Column(name="padded", type=Type.TEXT, field="beside.plain_string"),
    Column(name="raw", type=Type.BYTES, field="plain_bytes"), Column(name="yes", type=Type.BOOL, field="plain_bool"),
    Column(name="small", type=Type.INT2, field="plain_enum"), Column(name="medium", type=Type.INT4, field="plain_sint32"),
    Column(name="large", type=Type.INT8, field="optional_string"), Column(name="single", type=Type.FLOAT4, field="plain_float"),
    Column(name="twofold", type=Type.FLOAT8, field="plain_double"), Column(name="instant", type=Type.TIMESTAMPTZ, field="instant"),
    Column(name="day", type=Type.DATE, field="day"), Column(name="clock", type=Type.TIME, field="clock"),
]  # fmt: skip
PLAN = Plan.of(EVERY, COLUMNS)
NAMES = ", ".join(column.name for column in COLUMNS)
TABLE = """CREATE TEMP TABLE rows (place int GENERATED ALWAYS AS IDENTITY, id uuid, words text, code varchar(8), padded char(4), raw bytea, yes bool, small int2,
    medium int4, large int8, single float4, twofold float8, instant timestamptz, day date, clock time)"""
ROWS = f"""INSERT INTO rows ({NAMES}) VALUES
    ('00000000-0000-0000-0000-000000000000', '', '', '', '', false, 0, 0, 0, 0, 0, '1970-01-01Z', '0001-01-01', '00:00'),
    ('ffffffff-ffff-4fff-bfff-ffffffffffff', 'Łódź 🍜', 'é', 'ab', '\\x00ff', true, 32767, 2147483647, 9223372036854775807, 3.4e38, 1.7e308,
     '9999-12-31 23:59:59.999999Z', '9999-12-31', '23:59:59.999999'),
    ('123e4567-e89b-42d3-a456-426614174000', repeat('x', 100000), 'code', 'abcd', decode(repeat('00', 200), 'hex'), true, -32768, -2147483648,
     -9223372036854775808, '-Infinity', 'NaN', '0001-01-01Z', '2000-02-29', '12:00:00.000001'),
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (NULL, NULL, '', NULL, NULL, NULL, 1, NULL, -1, '-0', 1e-300, '1999-12-31 23:59:59.999999Z', '1999-12-31', NULL)"""
Make = Callable[[Plan], Encoder]


@pytest.fixture
async def connection(server: Server) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database of its own, with a table of all types."""
    name = new_database()
    await server.create(name)
    made = await asyncpg.connect(server.url(name))
    await made.execute(TABLE)
    await made.execute(ROWS)
    yield made
    await made.close()
    await server.drop(name)


async def driver_values(connection: asyncpg.Connection) -> Sequence[Sequence[Any]]:
    """The rows as asyncpg reads them."""
    return [list(row.values()) for row in await connection.fetch(f"SELECT {NAMES} FROM rows ORDER BY place")]


async def copied(connection: asyncpg.Connection, query: str) -> bytes:
    """What COPY writes."""
    chunks: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        chunks.append(bytes(chunk))

    await connection.copy_from_query(query, output=keep, format="binary")
    return b"".join(chunks)


async def records(connection: asyncpg.Connection, query: str) -> bytes:
    """A page in one value."""
    found: bytes = await connection.fetchval(f"SELECT string_agg(record_send(r), '') FROM ({query}) r")
    return found


async def test_records_become_the_messages_of_the_drivers_values(connection: asyncpg.Connection, make_encoder: Make) -> None:
    values = await driver_values(connection)
    data = await records(connection, f"SELECT {NAMES} FROM rows ORDER BY place")
    made = make_encoder(PLAN).encode(data, Framing.RECORDS)
    assert made.rows == len(values)
    assert made.body == page_of(1, COLUMNS, values).SerializeToString(deterministic=True)
    names = [column.name for column in COLUMNS]
    assert made.last is not None
    assert list(PLAN.values(data, made.last, Framing.RECORDS, names)) == values[-1]


async def test_a_copy_becomes_the_messages_of_the_drivers_values(connection: asyncpg.Connection, make_encoder: Make) -> None:
    values = await driver_values(connection)
    data = await copied(connection, f"SELECT {NAMES} FROM rows ORDER BY place")
    assert data.startswith(COPY_HEADER)
    assert data.endswith(COPY_TRAILER)
    made, at, rows, last = make_encoder(PLAN), len(COPY_HEADER), [], []
    body = b""
    while at < len(data) - len(COPY_TRAILER):
        page = made.encode(data, Framing.COPY, start=at, rows_max=2)
        assert page.last is not None
        last.append(list(PLAN.values(data, page.last, Framing.COPY, [column.name for column in COLUMNS])))
        at, body = page.consumed, body + page.body
        rows.append(page.rows)
    assert rows == [2, 2, 1]
    assert body == page_of(1, COLUMNS, values).SerializeToString(deterministic=True)
    assert last == [values[1], values[3], values[4]]


@pytest.mark.parametrize("value", ["4713-01-01 BC", "0001-12-31 BC", "10000-01-01", "infinity", "-infinity"])
@pytest.mark.parametrize(("type", "kind", "field"), [("timestamptz", Type.TIMESTAMPTZ, "instant"), ("date", Type.DATE, "day")])
async def test_a_day_that_messages_do_not_have_is_refused(
    connection: asyncpg.Connection, make_encoder: Make, value: str, type: str, kind: Type, field: str
) -> None:
    plan = Plan.of(EVERY, [Column(name="the day", type=kind, field=field)])
    with pytest.raises(RowInvalid, match="row 0, column the day") as raised:
        make_encoder(plan).encode(await records(connection, f"SELECT '{value}'::{type}"), Framing.RECORDS)
    assert raised.value.fault is Fault.RANGE


async def test_midnight_at_the_end_of_a_day_is_a_time(connection: asyncpg.Connection, make_encoder: Make) -> None:
    plan = Plan.of(EVERY, [Column(name="clock", type=Type.TIME, field="clock")])
    body = make_encoder(plan).encode(await records(connection, "SELECT '24:00'::time"), Framing.RECORDS).body
    assert body == b"\x0a\x04" + bytes([EVERY.fields_by_name["clock"].number << 3 | 2]) + b"\x02\x08\x18"


async def test_every_column_of_another_type_is_refused(connection: asyncpg.Connection, make_encoder: Make) -> None:
    """For instance a timestamp without a zone, which has the length of one with a zone."""
    for column in COLUMNS:
        plan = Plan.of(EVERY, [column])
        query = f"SELECT {'NULL::oid' if column.name != 'instant' else 'localtimestamp'}"
        with pytest.raises(RowInvalid, match=f"column {column.name}: its type is not"):
            make_encoder(plan).encode(await records(connection, query), Framing.RECORDS)


async def test_the_types_oids_are_those_of_the_catalog(connection: asyncpg.Connection, make_encoder: Make) -> None:
    data = await records(connection, f"SELECT {NAMES} FROM rows WHERE id IS NULL AND small IS NULL")
    assert len(data) == struct.calcsize(">i") + len(COLUMNS) * struct.calcsize(">Ii")
    assert make_encoder(PLAN).encode(data, Framing.RECORDS).body == b"\x0a\x00"
