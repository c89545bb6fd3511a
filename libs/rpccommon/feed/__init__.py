"""The feed over gRPC: a service streams what changed in it, others follow. The SQL of both sides is in dbcommon."""

from rpccommon.feed.consumer import Batch, Consumer, Registered, events_of
from rpccommon.feed.servicer import CURSOR, EventsServicer, stored_to_pb
from rpccommon.feed.source import Place

__all__ = ["CURSOR", "Batch", "Consumer", "EventsServicer", "Place", "Registered", "events_of", "stored_to_pb"]
