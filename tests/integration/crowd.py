"""Many tenants at one pool: what each of them does, what each may see, and what must be in the database afterwards."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import asyncpg

from dbcommon.database import Database, Transaction
from dbcommon.tenancy import policies

TABLE = "bookings.crowd"
ROWS = 3
"""The rows that each tenant has from the beginning."""
TIMEOUT_MS = 2
OWN = f"SELECT b.station_id, b.id FROM {TABLE} b WHERE b.station_id = s.tenant LIMIT 1000"
ALL = f"SELECT station_id FROM {TABLE} LIMIT 1000"
"""Names no tenant: row-level security alone keeps others' rows from it."""
INSERT = f"INSERT INTO {TABLE} (station_id, id, author) VALUES (:station, :id, :author)"
HOT = f"SELECT id FROM {TABLE} WHERE id = :id FOR UPDATE"
DDL = [
    f"CREATE TABLE {TABLE} (station_id uuid NOT NULL, id uuid PRIMARY KEY, author uuid NOT NULL)",
    *policies("bookings", "crowd", platform=True),
    f"GRANT SELECT, INSERT, UPDATE ON {TABLE} TO bookings_app",
]


@dataclass(kw_only=True)
class Crowd:
    """Everybody, and what is known of their rows."""

    app: Database
    tenants: Sequence[UUID]
    chance: random.Random
    committed: dict[UUID, UUID] = field(default_factory=dict)
    """The tenant of each row whose transaction was acknowledged."""
    never: set[UUID] = field(default_factory=set)
    """Rows that no transaction may commit: it fails after it wrote them."""
    told: Counter[str] = field(default_factory=Counter)
    """How operations ended, by what they raised."""


Operation = Callable[[Crowd, UUID], Awaitable[None]]


def expect_own(tenant: UUID, rows: Iterable[UUID]) -> None:
    """Fails where a tenant saw a row of another, or not all of its own; `rows` are the tenants of what it saw."""
    found = Counter(rows)
    assert set(found) == {tenant}, f"{tenant} saw the rows of {set(found)}"
    assert found[tenant] >= ROWS, f"{tenant} saw {found[tenant]} rows of its own"


def tenants_in(data: bytes, tenants: Iterable[UUID]) -> Sequence[UUID]:
    """Returns whose rows are in what Postgres sent, once for each time that they are named."""
    return [each for each in tenants for _ in range(data.count(each.bytes))]


async def reads(crowd: Crowd, tenant: UUID) -> None:
    expect_own(tenant, [row["station_id"] for row in await crowd.app.read(OWN, tenant=tenant)])


async def reads_records(crowd: Crowd, tenant: UUID) -> None:
    expect_own(tenant, tenants_in(await crowd.app.records(OWN, tenant=tenant), crowd.tenants))


async def copies(crowd: Crowd, tenant: UUID) -> None:
    expect_own(tenant, tenants_in((await crowd.app.copy(OWN, tenant=tenant)).data, crowd.tenants))


async def looks(crowd: Crowd, tenant: UUID) -> None:
    """Without a tenant there are no rows, whoever used the connection before."""
    assert await crowd.app.look(ALL) == [], "somebody's setting outlived their statement"


async def begins_without_a_tenant(crowd: Crowd, tenant: UUID) -> None:
    async with crowd.app.transaction() as tx:
        assert await tx.execute(ALL) == [], "somebody's setting outlived their transaction"


async def writes(crowd: Crowd, tenant: UUID) -> None:
    id = uuid4()
    async with crowd.app.transaction(tenant=tenant) as tx:
        await _insert(tx, tenant, id)
        expect_own(tenant, (await tx.execute(ALL)).column())
    crowd.committed[id] = tenant


async def writes_past_a_collision(crowd: Crowd, tenant: UUID) -> None:
    """The savepoint undoes what failed, and the transaction goes on as the same tenant."""
    id = uuid4()
    async with crowd.app.transaction(tenant=tenant) as tx:
        await _insert(tx, tenant, id)
        try:
            async with tx.savepoint():
                await _insert(tx, tenant, id)
        except asyncpg.UniqueViolationError:
            crowd.told["UniqueViolationError inside"] += 1
        expect_own(tenant, (await tx.execute(ALL)).column())
    crowd.committed[id] = tenant


async def collides(crowd: Crowd, tenant: UUID) -> None:
    async with crowd.app.transaction(tenant=tenant) as tx:
        await _insert(tx, tenant, _never(crowd))
        await _insert(tx, tenant, first_row(tenant))


async def trespasses(crowd: Crowd, tenant: UUID) -> None:
    """Writes a row for another tenant: the policy refuses it."""
    async with crowd.app.transaction(tenant=tenant) as tx:
        other = crowd.chance.choice([each for each in crowd.tenants if each != tenant])
        await tx.execute(INSERT, {"station": other, "id": _never(crowd), "author": tenant})


async def divides(crowd: Crowd, tenant: UUID) -> None:
    async with crowd.app.transaction(tenant=tenant) as tx:
        await _insert(tx, tenant, _never(crowd))
        await tx.execute("SELECT 1 / count(*) FILTER (WHERE false) FROM bookings.crowd")


async def divides_in_a_read(crowd: Crowd, tenant: UUID) -> None:
    await crowd.app.read("SELECT s.tenant, 1 / $2::int AS one LIMIT 1", 0, tenant=tenant)


async def times_out(crowd: Crowd, tenant: UUID) -> None:
    async with crowd.app.transaction(tenant=tenant) as tx:
        await _insert(tx, tenant, _never(crowd))
        await tx.execute(f"SELECT set_config('statement_timeout', '{TIMEOUT_MS}', true)")
        await tx.execute("SELECT pg_sleep(10)")


async def queues(crowd: Crowd, tenant: UUID) -> None:
    """All of one tenant queue for one row; who waits for too long gives up."""
    tenant = crowd.tenants[0]
    async with crowd.app.transaction(tenant=tenant) as tx:
        await tx.execute(f"SELECT set_config('lock_timeout', '{TIMEOUT_MS}', true)")
        await tx.execute(HOT, {"id": first_row(tenant)})
        await tx.execute("SELECT pg_sleep(0.005)")
        expect_own(tenant, (await tx.execute(ALL)).column())


OPERATIONS: Sequence[Operation] = (
    reads, reads, reads_records, copies, looks, begins_without_a_tenant, writes, writes, writes_past_a_collision, collides,
    trespasses, divides, divides_in_a_read, times_out, queues, queues,
)  # fmt: skip


def first_row(tenant: UUID) -> UUID:
    """Returns the ID of a row that a tenant has from the beginning."""
    return UUID(int=tenant.int ^ 1)


async def settle_in(outside: asyncpg.Connection, tenants: Sequence[UUID]) -> None:
    """Makes the table, and the rows that everybody has."""
    for statement in DDL:
        await outside.execute(statement)
    rows = [(each, first_row(each) if number == 0 else uuid4(), each) for each in tenants for number in range(ROWS)]
    await outside.executemany(f"INSERT INTO {TABLE} VALUES ($1, $2, $3)", rows)


def _never(crowd: Crowd) -> UUID:
    id = uuid4()
    crowd.never.add(id)
    return id


async def _insert(tx: Transaction, tenant: UUID, id: UUID) -> None:
    await tx.execute(INSERT, {"station": tenant, "id": id, "author": tenant})
