"""Who audits asks an owner: nothing is remembered, since what was said a second ago is no second observation."""

from collections.abc import Sequence
from contextlib import aclosing
from uuid import UUID

from teppan.common.v1 import events_pb2, events_pb2_grpc, references_pb2_grpc

from faults import PeerUnavailable
from rpccommon.client import Peer, prompt
from rpccommon.references.checking import Answer, Item, ask

HEAD_SECONDS = 2.0


class Asker:
    """The way to one owner."""

    def __init__(self, peer: Peer) -> None:
        """Asks nothing yet."""
        self._peer = peer
        self._references = references_pb2_grpc.ReferencesServiceStub(peer.channel)
        self._events = events_pb2_grpc.EventsServiceStub(peer.channel)

    async def check(self, type: str, items: Sequence[Item]) -> Sequence[Answer]:
        """Answers each item in order. Raises faults."""
        return await ask(self._peer, self._references.CheckReferences, type, items)

    async def head(self) -> tuple[UUID, int]:
        """Epoch and position of the end of the owner's feed, read after the call began. Raises faults."""
        stream = self._peer.stream(self._events.StreamEvents, events_pb2.StreamEventsRequest(latest=True))
        async with aclosing(prompt(stream, self._peer.name, HEAD_SECONDS)) as messages:
            async for message in messages:
                return UUID(message.head.epoch), message.head.position
        raise PeerUnavailable(f"the feed of {self._peer.name} ended", peer=self._peer.name)
