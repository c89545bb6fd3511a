"""What a service serves, what it follows, and what else its processes do."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from prometheus_client import CollectorRegistry
from teppan.common.v1 import audits_pb2, events_pb2, references_pb2

from dbcommon.attempts import Handler
from dbcommon.audit import Auditor
from dbcommon.references import Counting, Driver, KnownRows, Registry
from dbcommon.replay import Parked
from dbcommon.resync import Unsaid
from dbcommon.sagas import Kind, Sagas
from referring import Column
from rpccommon.auth import Verifier
from rpccommon.client import Peer
from rpccommon.references import Asker, Owned, Referring, RefersToNothing
from rpccommon.registry import registry
from service.parts import Parts

COMMON = (
    references_pb2.DESCRIPTOR.services_by_name["ReferencesService"],
    events_pb2.DESCRIPTOR.services_by_name["EventsService"],
    audits_pb2.DESCRIPTOR.services_by_name["AuditsService"],
)
"""What every service serves."""

Worker = Callable[[], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Following:
    """A feed that a service follows: for its known rows, for handlers by event type, or both."""

    peer: Peer
    known: Sequence[KnownRows] = ()
    others: Mapping[str, Handler] = field(default_factory=dict)
    unsaid: Mapping[str, Unsaid] = field(default_factory=dict)
    """By type, who is told at the end of a resynchronisation that all was said."""

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
    """Refuses users' calls where too little was heard, beside what every service has to have heard of revocations."""
    purges: Driver | None = None
    referrers: Registry | None = None
    """Who refers to what it owns."""
    lists: str = ""
    """By what its lists are made: a sentence for the log, at the start."""
    counting: Referring | None = None
    """Instead of who counts what refers to the known rows."""
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    @property
    def service(self) -> str:
        """Its name."""
        return self.parts.schema.service

    @property
    def known(self) -> Sequence[KnownRows]:
        """The known rows of all that it refers to."""
        return [known for following in self.following for known in following.known]

    @property
    def columns(self) -> Sequence[Column]:
        """Its columns that refer to other services' things."""
        return [column for column in registry() if column.service == self.service]

    @property
    def referring(self) -> Referring:
        """Who counts for owners what is left of references to their things."""
        if self.counting is not None:
            return self.counting
        return Counting(self.parts.platform, self.service, self.known, self.columns) if self.known else RefersToNothing()

    @cached_property
    def auditor(self) -> Auditor:
        """Who audits these columns."""
        owners = {following.peer.name: Asker(following.peer) for following in self.following if following.known}
        return Auditor(self.parts.platform, self.parts.schema.metadata, self.known, self.columns, owners)


def parked_of(wanted: Serving) -> Parked:
    """What lies aside of the feeds that a service follows."""
    handlers = {following.peer.name: following.handlers for following in wanted.following}
    return Parked(wanted.parts.platform, wanted.service, handlers, events_pb2.Event.FromString)


def sagas_of(wanted: Serving) -> Sagas:
    """What is unfinished of the sagas that a service has a part in."""
    return Sagas(wanted.parts.platform, wanted.sagas)
