"""What every service is made of, put together once: databases, feed, peers, server, and the work that one process does.

The only library that knows both dbcommon and rpccommon; a service's `__main__` builds its use cases between `Parts` and
`serving`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from prometheus_client import CollectorRegistry
from teppan.common.v1 import events_pb2, events_pb2_grpc, references_pb2, references_pb2_grpc
from teppan.identity.v1 import tokens_pb2, tokens_pb2_grpc

from dbcommon import migrate
from dbcommon.attempts import Handler
from dbcommon.database import Database, assert_idle
from dbcommon.election import lead
from dbcommon.feed import Feed
from dbcommon.inbox import Freshness, Inbox
from dbcommon.references import Consequences, Driver, KnownRows, Registry
from dbcommon.relay import Relay
from dbcommon.replay import Parked
from dbcommon.sagas import Kind, Sagas
from dbcommon.schema import Schema
from dbcommon.tenancy import refuse_unsafe
from faults import DatabaseUnavailable
from ids import new_id
from pages import Tokens
from rpccommon.auth import ServiceToken, Verifier
from rpccommon.calls import Calls
from rpccommon.client import Peer
from rpccommon.feed import Consumer, EventsServicer
from rpccommon.feed.gauges import RelayGauge, show_followed
from rpccommon.feed_metrics import FeedMetrics
from rpccommon.keys import FetchedKeys, FixedKeys, Keys
from rpccommon.parked import ParkedEvents
from rpccommon.policies import policies
from rpccommon.references import Owned, ReferencesServicer, Referring, RefersToNothing, registration
from rpccommon.registry import registry
from rpccommon.sagas import UnfinishedSagas
from rpccommon.server import Server, run_workers
from rpccommon.telemetry import Telemetry
from rpccommon.tombstones import Tombstones
from settings import Settings

APP_POOL = 16
PLATFORM_POOL = 4
DATABASE_RETRY_SECONDS = 1.0
KEYS_SECONDS = 2.0
COMMON = (
    references_pb2.DESCRIPTOR.services_by_name["ReferencesService"],
    events_pb2.DESCRIPTOR.services_by_name["EventsService"],
)

Worker = Callable[[], Awaitable[None]]


class Unready(Exception):
    """The database is not one that this code works on; the message says why."""


log = structlog.get_logger()


def now() -> datetime:
    """The clock of the process; libraries and use cases get it passed in."""
    return datetime.now(UTC)


def published_keys(identity: Peer) -> FetchedKeys:
    """The keys that identity signs users' tokens with, as it publishes them."""
    stub = tokens_pb2_grpc.TokensServiceStub(identity.channel)

    async def fetch() -> str:
        answer = await identity.call(stub.GetKeys, tokens_pb2.GetKeysRequest(), timeout=KEYS_SECONDS)
        return str(answer.jwks_json)

    return FetchedKeys(fetch, now)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a service's use cases are built on. Nothing is opened before `serving`."""

    settings: Settings
    schema: Schema
    migrations: Path
    platform_pool: int = PLATFORM_POOL

    @cached_property
    def app(self) -> Database:
        """The application's role: the rows of one tenant at a time."""
        return Database(self.settings.app_url, pool_size=APP_POOL)

    @cached_property
    def platform(self) -> Database:
        """The role that crosses tenants."""
        return Database(self.settings.platform_url, pool_size=self.platform_pool)

    @cached_property
    def probe(self) -> Database:
        """For asking whether the database answers: not behind those who wait for the pools."""
        return Database(self.settings.app_url, pool_size=1)

    @cached_property
    def feed(self) -> Feed:
        """The service's own feed."""
        return Feed(self.platform, self.schema.service)

    def registry(self, types: Sequence[str]) -> Registry:
        """Who refers to this service's things of these types."""
        return Registry(self.platform, self.schema.service, self.feed, contract=registry(), types=types)

    @cached_property
    def tokens(self) -> Tokens:
        """Signs page tokens and cursors."""
        return Tokens(self.settings.token_key, now)

    @cached_property
    def freshness(self) -> Freshness:
        """How far the followed feeds are known."""
        return Freshness(self.platform, self.schema.service, now)

    @cached_property
    def identity(self) -> ServiceToken:
        """Who this service is to the others."""
        return ServiceToken(self.settings.service, self.settings.service_key, now)

    def peer(self, name: str) -> Peer:
        """A way to another service."""
        return Peer(name, self.settings.peers[name], self.identity, assert_idle, tls=self.settings.tls)

    def verifier(self, users: Keys) -> Verifier:
        """Verifies users' tokens by these keys, services' by the keys that were deployed."""
        return Verifier(users, FixedKeys.from_jwks(self.settings.service_jwks), now)


@dataclass(frozen=True, kw_only=True)
class Following:
    """A feed that a service follows: for its known rows, for handlers by event type, or both."""

    peer: Peer
    known: Sequence[KnownRows] = ()
    others: Mapping[str, Handler] = field(default_factory=dict)

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What applies an event, by type."""
        return {**{known.type: known.apply for known in self.known}, **self.others}


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What a service serves, and what it follows."""

    parts: Parts
    verifier: Verifier
    referents: Owned
    services: Sequence[ServiceDescriptor]
    register: Sequence[Callable[[grpc.aio.Server], None]]
    peers: Sequence[Peer] = ()
    following: Sequence[Following] = ()
    elected: Sequence[Worker] = ()
    """Endless work of the elected process, beside relay and consumers."""
    sagas: Sequence[Kind] = ()
    """What may be unfinished here, for metrics and `make sagas`."""
    fresh: Callable[[], None] | None = None
    purges: Driver | None = None
    referring: Referring = field(default_factory=RefersToNothing)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)


@asynccontextmanager
async def serving(wanted: Serving) -> AsyncIterator[int]:
    """Serves until the block ends; gives the port. Raises Unsafe where the database would isolate nothing, and TlsWrong."""
    parts, service = wanted.parts, wanted.parts.schema.service
    telemetry = Telemetry(service, wanted.registry)
    if parts.settings.tls is not None:
        parts.settings.tls.check(now())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(parts.app.close)
        stack.push_async_callback(parts.platform.close)
        stack.push_async_callback(parts.probe.close)
        for peer in wanted.peers:
            stack.push_async_callback(peer.close)
        await _check_roles(parts)
        stop_metrics = telemetry.start_metrics(parts.settings.metrics_listen, parts.settings.tls)
        stack.push_async_callback(asyncio.to_thread, stop_metrics)
        workers = asyncio.create_task(run_workers(*_workers(wanted)), name=f"{service} workers")
        stack.push_async_callback(_cancel, workers)
        server = _server(wanted, telemetry)
        port = await server.start()
        stack.push_async_callback(server.stop)
        yield port


def parked_of(wanted: Serving) -> Parked:
    """What lies aside of the feeds that a service follows."""
    handlers = {following.peer.name: following.handlers for following in wanted.following}
    return Parked(wanted.parts.platform, wanted.parts.schema.service, handlers, events_pb2.Event.FromString)


def sagas_of(wanted: Serving) -> Sagas:
    """What is unfinished of the sagas that a service has a part in."""
    return Sagas(wanted.parts.platform, wanted.sagas)


@asynccontextmanager
async def beside(wanted: Serving) -> AsyncIterator[Serving]:
    """For a command that looks at, or mends, what the processes that serve have in the database. Raises Unready."""
    parts = wanted.parts
    async with AsyncExitStack() as stack:
        stack.push_async_callback(parts.platform.close)
        for peer in wanted.peers:
            stack.push_async_callback(peer.close)
        if why := await migrate.unready(parts.platform, parts.schema.service, migrate.head(parts.migrations)):
            raise Unready(why)
        yield wanted


def _server(wanted: Serving, telemetry: Telemetry) -> Server:
    parts, service = wanted.parts, wanted.parts.schema.service
    services = [*wanted.services, *COMMON]
    calls = Calls(service, policies(*services), wanted.verifier, telemetry, fresh=wanted.fresh, idle=assert_idle)
    known = migrate.head(parts.migrations)

    async def ready() -> str | None:
        try:
            return await migrate.unready(parts.probe, service, known)
        except DatabaseUnavailable as fault:
            return fault.message

    def register_common(server: grpc.aio.Server) -> None:
        events_pb2_grpc.add_EventsServiceServicer_to_server(EventsServicer(parts.feed, parts.tokens), server)
        references = ReferencesServicer(wanted.referents, wanted.referring, parts.tokens)
        references_pb2_grpc.add_ReferencesServiceServicer_to_server(references, server)

    return Server(
        service,
        parts.settings.listen,
        calls,
        [*wanted.register, register_common],
        [descriptor.full_name for descriptor in services],
        ready,
        tls=parts.settings.tls,
        drain_seconds=parts.settings.drain_seconds,
    )


def _workers(wanted: Serving) -> list[Worker]:
    """Endless work of every process, and of the one that is elected."""
    parts, service = wanted.parts, wanted.parts.schema.service
    told = FeedMetrics(wanted.registry, [following.peer.name for following in wanted.following])
    consumers = [
        Consumer(
            following.peer,
            list(following.handlers),
            Inbox(
                parts.platform, service, following.peer.name, following.handlers, events_pb2.Event.SerializeToString,
                following.known,
            ),
            told,
            register=registration(following.peer, service, registry()),
        ).run
        for following in wanted.following
    ]  # fmt: skip
    relay = Relay(parts.platform, service, new_id).run
    everywhere: list[Worker] = [parts.feed.watch, RelayGauge(wanted.registry, parts.feed.complete_until).watch]
    if wanted.sagas:
        everywhere.append(UnfinishedSagas(wanted.registry, sagas_of(wanted).counts).watch)
    if wanted.following:
        show_followed(wanted.registry, [each.peer.name for each in wanted.following], parts.freshness.complete_until)
        parked = parked_of(wanted)
        columns = [column for column in registry() if column.service == service]
        known = [known for following in wanted.following for known in following.known]
        consumers += [parked.run, Consequences(parts.platform, known, columns).run]
        followed = [(each.peer.name, type) for each in wanted.following for type in each.handlers]
        everywhere += [parts.freshness.watch, ParkedEvents(wanted.registry, followed, parked.counts).watch]

    if wanted.purges is not None:
        consumers.append(wanted.purges.run)
        everywhere.append(Tombstones(wanted.registry, wanted.purges.purges.tombstones).watch)

    async def elected() -> None:
        await lead(parts.settings.platform_url, f"workers of {service}", lambda: run_workers(relay, *consumers, *wanted.elected))

    return [*everywhere, elected]


async def _check_roles(parts: Parts) -> None:
    """Waits for the database, then refuses roles that it would not isolate."""
    while True:
        try:
            for database in (parts.app, parts.platform):
                async with database.transaction(read_only=True) as tx:
                    await refuse_unsafe(tx, parts.schema.service, parts.schema.tenant_tables)
        except DatabaseUnavailable as fault:
            log.warning("waiting for the database", why=fault.message)
            await asyncio.sleep(DATABASE_RETRY_SECONDS)
        else:
            return


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
