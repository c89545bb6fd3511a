"""What the bench of references stands on: one seeded database, and a copy of it for each variant."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import asyncpg

from bookings.tables import metadata
from dbcommon.references import Known
from local.database import Server
from referring import Rule
from rpccommon.registry import registry
from tests.bench.creates import DAY, ID_OF, SLOTS, START
from tests.readiness import caught_up

EPOCH = uuid4()
STATIONS = 500
CLIENTS = 8
CAPACITY = 32_767
AS_IT_IS, KEY_ONLY, WITHOUT = "as it is", "a foreign key only", "without both"
ID = ID_OF.format("s")
SEED = [
    caught_up("bookings", "identity", EPOCH),
    f"""INSERT INTO bookings.known_stations (id, epoch, version, state, code, time_zone, currency_code)
        SELECT {ID}, '{EPOCH}', 1, {Known.OPEN:d}, 'S' || s, 'Europe/Berlin', 'EUR' FROM generate_series(1, {STATIONS}) s""",
    f"""INSERT INTO bookings.customers (station_id, id, name, email, email_index, version, create_time, update_time)
        SELECT {ID}, {ID_OF.format("client")}, 'Bo', '', convert_to(client::text, 'UTF8'), 1, '{START}', '{START}'
        FROM generate_series(1, {STATIONS}) s, generate_series(1, {CLIENTS}) client""",
    f"""INSERT INTO bookings.slots (station_id, local_date, local_start, start_time, end_time, capacity)
        SELECT {ID}, '{DAY}', make_time(client, slot, 0), '{START}', '{START}', {CAPACITY}
        FROM generate_series(1, {STATIONS}) s, generate_series(0, {CLIENTS - 1}) client, generate_series(0, {SLOTS - 1}) slot""",
    "VACUUM ANALYZE",
]
"""Each station has a customer and slots for each client: of all rows they share only the station's known one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The databases, by variant."""

    server: Server
    databases: dict[str, str]

    def url(self, variant: str, kind: str) -> str:
        """Of a variant's database, for a role of bookings."""
        return self.server.url(self.databases[variant], f"bookings_{kind}")


@asynccontextmanager
async def laid(server: Server, template: str) -> AsyncIterator[Ground]:
    """Copies a migrated template: seeds one, and takes guards and keys away in copies of that. Nothing of it stays."""
    names = {variant: f"teppan_bench_{uuid4().hex}" for variant in (AS_IT_IS, KEY_ONLY, WITHOUT)}
    seeded = f"teppan_bench_{uuid4().hex}"
    try:
        await server.create(seeded, template)
        await _run(server.url(seeded), SEED)
        for variant, name in names.items():
            await server.create(name, seeded)
            if variant != AS_IT_IS:
                await _run(server.url(name), without_guards())
        await _run(server.url(names[WITHOUT]), without_keys())
        yield Ground(server=server, databases=names)
    finally:
        for name in (seeded, *names.values()):
            await server.drop(name)


def without_guards() -> list[str]:
    """What drops the guards of all columns of bookings."""
    columns = [each for each in registry() if each.service == "bookings" and each.rule != Rule.KEEP]
    return [f"DROP TRIGGER {each.table}_{each.name}_guard ON bookings.{each.table}" for each in columns]


def without_keys() -> list[str]:
    """What drops their foreign keys to known rows."""
    return [
        f"ALTER TABLE {key.parent.table.fullname} DROP CONSTRAINT {key.constraint.name}"
        for table in metadata.sorted_tables
        for key in sorted(table.foreign_keys, key=lambda key: str(key.target_fullname))
        if "fence" in key.column.table.c and key.constraint is not None
    ]


async def _run(url: str, statements: list[str]) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
