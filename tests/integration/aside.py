"""A service that follows a feed on a real Postgres, whose handler records what it applies and fails where it is told to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from teppan.common.v1.events_pb2 import Event

from dbcommon.database import Database, Transaction
from dbcommon.inbox import Inbox
from dbcommon.references import Referent
from dbcommon.replay import Parked
from local.database import Server
from tests.readiness import columns

TYPE = "identity.Station"
EPOCH = uuid4()
EFFECTS = """CREATE TABLE bookings.effects (seq bigserial PRIMARY KEY, entity_id uuid NOT NULL, version bigint NOT NULL, once text,
  CONSTRAINT effects_once UNIQUE (once) DEFERRABLE INITIALLY DEFERRED, CONSTRAINT effects_positive CHECK (version > 0));
GRANT SELECT, INSERT ON bookings.effects TO bookings_platform; GRANT USAGE ON SEQUENCE bookings.effects_seq_seq TO bookings_platform"""
"""What handlers do, as rows: an effect that was rolled back leaves none, one that came twice leaves two."""

ENDED = object()


@dataclass(frozen=True)
class Batch:
    """What comes over a feed at once."""

    events: Sequence[Event]
    cursor: str
    position: tuple[UUID, int]
    head: tuple[UUID, int]
    complete_until: datetime = datetime(2030, 1, 1, tzinfo=UTC)
    registered: Sequence[str] = tuple(columns("bookings", "identity"))


@dataclass
class Stream:
    """A feed of identity, in memory."""

    events: list[Event] = field(default_factory=list)

    def tell(self, *entities: UUID, state: Referent = Referent.OPEN) -> None:
        """Something happens to each of the entities, in this order."""
        for entity in entities:
            version = 1 + sum(event.entity_id == str(entity) for event in self.events)
            self.events.append(
                Event(
                    event_id=str(uuid4()),
                    type=TYPE,
                    entity_id=str(entity),
                    epoch=str(EPOCH),
                    position=len(self.events) + 1,
                    version=version,
                    referent_state=state.value,  # type: ignore[arg-type]  # a number of that enum
                )
            )

    def after(self, cursor: str | None) -> Batch:
        """Everything that follows a cursor."""
        return self.part(int(cursor or 0), len(self.events))

    def part(self, first: int, last: int) -> Batch:
        """Some of it."""
        return Batch(self.events[first:last], str(last), (EPOCH, last), (EPOCH, len(self.events)))


@dataclass
class Follower:
    """One process that follows the feed; another one over the same database is as if it had been started anew."""

    platform: Database
    stream: Stream
    broken: dict[UUID, Callable[[], Exception]] = field(default_factory=dict)
    """What the handler raises, by entity, after it has done half of its work."""
    tried: list[tuple[UUID, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        handlers = {TYPE: self.handle}
        self.inbox = Inbox(self.platform, "bookings", "identity", handlers, Event.SerializeToString)
        self.parked = Parked(self.platform, "bookings", {"identity": handlers}, Event.FromString)

    async def handle(self, tx: Transaction, event: Event) -> None:
        """Records the event, or fails."""
        entity = UUID(event.entity_id)
        self.tried.append((entity, event.version))
        insert = "INSERT INTO bookings.effects (entity_id, version) VALUES (:entity, :version)"
        await tx.execute(insert, {"entity": entity, "version": event.version})
        if entity in self.broken:
            error = self.broken[entity]()
            raise error

    async def follow(self) -> None:
        """Applies everything that the feed has and this service has not."""
        cursor = await self.inbox.cursor()
        await self.inbox.begin()
        batch = self.stream.after(cursor)
        if batch.events:
            await self.inbox.apply(batch)

    async def attempts(self, count: int) -> None:
        """Lets time pass, and what is due be tried, so many times."""
        for _ in range(count):
            await self.now()
            await self.parked.step()

    async def now(self) -> None:
        """Makes due what would be tried again later."""
        async with self.platform.transaction() as tx:
            await tx.execute("UPDATE bookings.parked_events SET next_attempt_time = now() WHERE next_attempt_time > now()")

    async def lying(self) -> list[tuple[UUID, int, int, str]]:
        """What lies aside, in order: entity, version, attempts, state."""
        select = """SELECT entity_id, version, attempts, CASE WHEN parked_time IS NOT NULL THEN 'parked'
            WHEN next_attempt_time IS NOT NULL THEN 'retried' ELSE 'waiting' END FROM bookings.parked_events ORDER BY seq"""
        async with self.platform.transaction(read_only=True) as tx:
            return [(row[0], row[1], row[2], row[3]) for row in await tx.execute(select)]

    async def applied(self) -> list[tuple[UUID, int]]:
        """What had its effect, in order."""
        async with self.platform.transaction(read_only=True) as tx:
            rows = await tx.execute("SELECT entity_id, version FROM bookings.effects ORDER BY seq")
            return [(row.entity_id, row.version) for row in rows]


def wrong() -> Exception:
    """What is the event's own fault."""
    return ValueError("it cannot be applied")


@asynccontextmanager
async def follower_on(server: Server, database: str) -> AsyncIterator[Follower]:
    """A follower of an empty feed."""
    admin = await asyncpg.connect(server.url(database))
    await admin.execute(EFFECTS)
    await admin.close()
    platform = Database(server.url(database, "bookings_platform"), pool_size=4)
    yield Follower(platform, Stream())
    await platform.close()


class Killed:
    """Awaits work up to its n-th suspension; there `kill` runs, and the work ends. Gives whether it came so far."""

    def __init__(self, work: Coroutine[Any, Any, Any], at: int, kill: Callable[[], None]) -> None:
        self._work = work
        self._at = at
        self._kill = kill

    def __await__(self) -> Generator[Any, None, bool]:
        waits = self._step()
        for _ in range(1, self._at):
            if waits is ENDED:
                return False
            waits = yield from self._resumed(waits)
        if waits is ENDED:
            return False
        self._kill()
        with contextlib.suppress(Exception, asyncio.CancelledError):  # whatever is said of a connection that is gone
            waits = self._step(asyncio.CancelledError())
            while waits is not ENDED:
                waits = yield from self._resumed(waits)
        return True

    def _resumed(self, waits: Any) -> Generator[Any, None, Any]:
        """Waits as the work does, and hands on to it how that ended; what it waits for next."""
        try:
            yield waits
        except BaseException as error:  # noqa: BLE001  # the work's to deal with
            return self._step(error)
        return self._step()

    def _step(self, error: BaseException | None = None) -> Any:
        try:
            return self._work.send(None) if error is None else self._work.throw(error)
        except StopIteration:
            return ENDED
