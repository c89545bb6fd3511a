"""The feed over gRPC: a service streams what changed in it, others follow. The SQL of both sides is in dbcommon."""

from rpccommon.feed.consumer import Batch, Consumer
from rpccommon.feed.servicer import EventsServicer, stored_to_pb

__all__ = ["Batch", "Consumer", "EventsServicer", "stored_to_pb"]
