"""A service with a feed, on a real Postgres: those who change things, its relay, and what it has published."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from bookings.tables import outbox
from dbcommon import feed
from dbcommon.database import Database, Transaction
from dbcommon.feed import Event, Feed
from dbcommon.relay import Relay
from ids import new_id
from local.database import Server

TYPE = "bookings.Booking"
FILLED = "INSERT INTO bookings.{} SELECT {} FROM generate_series({}, {}) n"
EVENT = "gen_random_uuid(), 'bookings.Booking', gen_random_uuid(), gen_random_uuid(), 1, 1, convert_to(repeat('x', 300), 'UTF8')"


@dataclass
class Owner:
    """The service bookings, as far as its feed goes."""

    platform: Database
    owner: asyncpg.Connection
    """With the role that may change tables."""
    admin: asyncpg.Connection
    url: str
    """Of the administrator."""
    relay: Relay = field(init=False)
    feed: Feed = field(init=False)
    versions: Counter[UUID] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.relay = Relay(self.platform, "bookings", new_id)
        self.feed = Feed(self.platform, "bookings")

    async def tell(self, *entities: UUID) -> None:
        """A change of each of the entities, in a transaction of its own."""
        for entity in entities:
            async with self.platform.transaction() as tx:
                await self.append(tx, entity)

    async def append(self, tx: Transaction, entity: UUID) -> None:
        """A change of an entity: its lock first, then its next version. Whoever fails afterwards leaves a gap, and no disorder."""
        await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended(:e, 0))", {"e": str(entity)})
        self.versions[entity] += 1
        event = Event(event_id=new_id(), type=TYPE, entity_id=entity, version=self.versions[entity], payload=b"")
        await feed.append(tx, outbox, event)

    async def append_to(self, connection: asyncpg.Connection, entity: UUID) -> None:
        """The same in a transaction of the administrator, on which nobody's limit of time is."""
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", str(entity))
        self.versions[entity] += 1
        columns = "event_id, type, entity_id, station_id, version, referent_state, payload"
        insert = f"INSERT INTO bookings.outbox ({columns}) VALUES (gen_random_uuid(), $1, $2, $2, $3, 1, '')"
        await connection.execute(insert, TYPE, entity, self.versions[entity])

    @asynccontextmanager
    async def opened(self, entity: UUID) -> AsyncIterator[asyncpg.Connection]:
        """A transaction that changes an entity at once, and commits at the end of the block."""
        connection = await asyncpg.connect(self.url)
        try:
            async with connection.transaction():
                await self.append_to(connection, entity)
                yield connection
        finally:
            await connection.close()

    async def published(self, *entities: UUID) -> None:
        """Changes of the entities that the relay has moved."""
        await self.tell(*entities)
        await self.move()

    async def move(self) -> None:
        """The relay moves all that there is."""
        while await self.relay.step():
            pass

    async def everything(self) -> Sequence[Any]:
        """What was published."""
        async with self.platform.transaction(read_only=True) as tx:
            return await tx.execute("SELECT position, entity_id, version FROM bookings.events ORDER BY position")

    async def partition(self, days: int) -> None:
        """A partition for the day that was so many days ago."""
        await self.owner.execute(f"""DO $$ DECLARE day date := (now() AT TIME ZONE 'UTC')::date - {days}; BEGIN
            EXECUTE format('CREATE TABLE bookings.%I PARTITION OF bookings.events FOR VALUES FROM (%L) TO (%L)',
            'events_' || to_char(day, 'YYYYMMDD'), day::text || ' 00:00+00', (day + 1)::text || ' 00:00+00'); END $$""")

    async def age(self, first: int, last: int, *, days: int) -> datetime:
        """Lets events have been published so many days ago; when that was."""
        await self.partition(days)
        age = "UPDATE bookings.events SET publish_time = now() - make_interval(days => $3) WHERE position BETWEEN $1 AND $2"
        await self.admin.execute(age, first, last, days)
        aged: datetime = await self.admin.fetchval("SELECT max(publish_time) FROM bookings.events WHERE position = $1", last)
        return aged

    async def roll(self) -> None:
        """What the relay does every hour."""
        async with self.platform.transaction() as tx:
            await tx.execute("SELECT bookings.events_roll()")

    async def reborn(self) -> None:
        """The present epoch is as if of another life of the database: the next step of the relay opens a new one."""
        await self.admin.execute(
            "UPDATE bookings.epochs SET incarnation = 'another life' WHERE incarnation = bookings.incarnation()"
        )


@asynccontextmanager
async def owner_on(server: Server, database: str, *, pool_size: int = 10) -> AsyncIterator[Owner]:
    """An owner that has published nothing yet."""
    admin, owner = [await asyncpg.connect(url) for url in (server.url(database), server.url(database, "bookings_owner"))]
    platform = Database(server.url(database, "bookings_platform"), pool_size=pool_size)
    made = Owner(platform, owner, admin, server.url(database))
    await made.relay.step()
    yield made
    await platform.close()
    for connection in (admin, owner):
        await connection.close()
