"""What a service's use cases are built on."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from teppan.common.v1 import events_pb2
from teppan.identity.v1 import tokens_pb2, tokens_pb2_grpc

from dbcommon.database import Database, assert_idle
from dbcommon.feed import Feed
from dbcommon.inbox import Freshness
from dbcommon.references import Registry
from dbcommon.schema import Schema
from dbcommon.wakes import Wakes
from pages import Tokens
from rowwire import CompiledEncoder, CopyReader, Encoder, Loaded, Plan, load_built
from rpccommon.auth import ServiceToken, Verifier
from rpccommon.client import Peer
from rpccommon.feed import EventsServicer
from rpccommon.keys import FetchedKeys, FixedKeys, Keys
from rpccommon.registry import registry
from rpccommon.revocations import Revocations, Stream
from settings import PYTHON_PATH, Settings

APP_POOL = 16
PLATFORM_POOL = 4
KEYS_SECONDS = 2.0


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
        functions = self.compiled.functions
        reader = None if functions is None else CopyReader(functions)
        return Database(self.settings.app_url, pool_size=APP_POOL, prepared=self.settings.prepared, reader=reader)

    @cached_property
    def platform(self) -> Database:
        """The role that crosses tenants."""
        return Database(self.settings.platform_url, pool_size=self.platform_pool, prepared=self.settings.prepared)

    @cached_property
    def probe(self) -> Database:
        """For asking whether the database answers: not behind those who wait for the pools."""
        return Database(self.settings.app_url, pool_size=1, prepared=self.settings.prepared)

    @cached_property
    def feed(self) -> Feed:
        """The service's own feed."""
        return Feed(self.platform, self.schema.service, self.wakes)

    @property
    def direct_url(self) -> str:
        """To the server itself, for what a session lives for: the election and LISTEN."""
        return self.settings.direct_url or self.settings.platform_url

    @cached_property
    def wakes(self) -> Wakes:
        """Wakes the relay and those who read the feed, in all processes."""
        return Wakes(self.direct_url, self.schema.service)

    def registry(self, types: Sequence[str]) -> Registry:
        """Who refers to this service's things of these types."""
        return Registry(self.platform, self.schema.service, self.feed, contract=registry(), types=types)

    def encoder(self, plan: Plan) -> Encoder | None:
        """What encodes a list's rows; None where they are made in Python."""
        return None if self.compiled.functions is None else CompiledEncoder(plan, self.compiled.functions)

    @cached_property
    def compiled(self) -> Loaded:
        """The compiled encoder, or why there is none."""
        if self.settings.list_path == PYTHON_PATH:
            return Loaded(functions=None, says=f"rows are encoded in Python, as TEPPAN_LIST_PATH={PYTHON_PATH} says")
        return load_built()

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

    def verifier(self, users: Keys, identity: Stream) -> Verifier:
        """Verifies users' tokens by these keys and identity's feed, services' by the keys that were deployed."""
        return Verifier(users, FixedKeys.from_jwks(self.settings.service_jwks), Revocations(identity, now), now)

    def own_events(self, request: events_pb2.StreamEventsRequest) -> AsyncGenerator[events_pb2.StreamEventsResponse, None]:
        """The service's own feed, as others get it."""
        return EventsServicer(self.feed, self.tokens).StreamEvents(request, None)
