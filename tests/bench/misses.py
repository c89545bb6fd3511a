"""The other create: the first customer of a station, of which nothing is known here yet, so that its owner is asked.

A booking cannot be it, for its customer was there before. Through the service's own `References` and store, so rates are the
client's more than the server's; a fake owner answers at once, so the way to it is not in them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from uuid import UUID, uuid4

from google.protobuf.any_pb2 import Any as AnyMessage
from teppan.identity.v1 import stations_pb2

from bookings.domain.customers import Customer
from bookings.store.customers import insert_customer
from bookings.tables import known_stations
from bookings.wire import heard
from dbcommon.database import Database
from dbcommon.private import KEY_BYTES, Keyring
from dbcommon.references import KnownRows, References, Referent, Wanted
from tests.bench.creates import START, Rate
from tests.bench.ground import AS_IT_IS, CLIENTS, EPOCH, WITHOUT, Ground

TYPE = "identity.Station"
KEYRING = Keyring({"k": bytes(KEY_BYTES)}, current="k", index_key=bytes(KEY_BYTES))
A_MISS, KNOWN = f"{AS_IT_IS}, a miss", f"{AS_IT_IS}, known"

Create = Callable[[int], Awaitable[None]]
"""Makes a customer; the number is of the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What the owner says of every station: it is open."""

    facts: AnyMessage
    epoch: UUID = EPOCH
    state: int = Referent.OPEN
    version: int = 1


class Owner:
    """Identity, which answers at once."""

    def __init__(self) -> None:
        self._facts = AnyMessage()
        self._facts.Pack(stations_pb2.Station(code="MITTE", time_zone="Europe/Berlin", currency_code="EUR"))

    async def check(self, type: str, items: Sequence[tuple[UUID | None, UUID]]) -> Sequence[Answered]:
        return [Answered(facts=self._facts) for _ in items]


@asynccontextmanager
async def customers(ground: Ground) -> AsyncIterator[dict[str, Create]]:
    """What makes a customer, by variant."""
    opened = {variant: Database(ground.url(variant, "app"), pool_size=CLIENTS) for variant in (AS_IT_IS, WITHOUT)}
    platform = Database(ground.url(AS_IT_IS, "platform"), pool_size=CLIENTS)
    known = KnownRows(platform, known_stations, owner="identity", type=TYPE, facts=heard.station_facts)
    references = References({TYPE: known}, {"identity": Owner()})

    async def referring(station: UUID) -> None:
        await references.ensure_known([Wanted(field="station_id", type=TYPE, id=station)])
        await _insert(opened[AS_IT_IS], station)

    try:
        for database in (*opened.values(), platform):
            await _fill(database)
        yield {
            A_MISS: lambda client: referring(uuid4()),
            KNOWN: lambda client: referring(UUID(int=client + 1)),
            WITHOUT: lambda client: _insert(opened[WITHOUT], uuid4()),
        }
    finally:
        for database in (*opened.values(), platform):
            await database.close()


async def run(create: Create, each: int) -> Rate:
    """Lets every client make so many."""

    async def client(number: int) -> None:
        for _ in range(each):
            await create(number)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(client(number), context=Context())
    return Rate(transactions=CLIENTS * each, per_second=CLIENTS * each / (time.perf_counter() - begun))


async def _fill(database: Database) -> None:
    """Opens all connections of a pool: what is opened in a turn is to be closed in it (`Processes.spent`)."""
    together = asyncio.Barrier(CLIENTS)

    async def hold() -> None:
        async with database.transaction(read_only=True):
            await together.wait()

    await asyncio.gather(*(asyncio.create_task(hold(), context=Context()) for _ in range(CLIENTS)))


async def _insert(app: Database, station: UUID) -> None:
    id = uuid4()
    customer = Customer(
        customer_id=id, station_id=station, name="Bo", email=f"{id}@example.com", phone="", user_id=None, version=1,
        create_time=START, update_time=START,
    )  # fmt: skip
    async with app.transaction(tenant=station) as tx:
        await insert_customer(tx, KEYRING, customer)
