"""An owner asks one who refers what is left. Only a whole answer is one: whatever else comes back is not 0, and a fault."""

from collections.abc import Mapping
from uuid import UUID

from teppan.common.v1 import references_pb2, references_pb2_grpc

from faults import NotClosedYet, PeerUnavailable, Remembered
from rpccommon.client import Peer

COUNT_SECONDS = 5.0


class Counter:
    """The way to one referrer."""

    def __init__(self, peer: Peer) -> None:
        """Asks nothing yet."""
        self._peer = peer
        self._stub = references_pb2_grpc.ReferencesServiceStub(peer.channel)

    async def count(self, type: str, id: UUID, *, epoch: UUID, version: int) -> Mapping[str, int]:
        """What is left by column ("table.column"), of those that are counted there. Raises NotClosedYet, PeerUnavailable."""
        request = references_pb2.CountReferencesRequest(type=type, id=str(id), epoch=str(epoch), version=version)
        try:
            response = await self._peer.call(self._stub.CountReferences, request, timeout=COUNT_SECONDS)
        except Remembered as refusal:
            if refusal.reason == NotClosedYet.reason:
                raise NotClosedYet(f"{self._peer.name} has not closed the {type} yet", peer=self._peer.name) from refusal
            raise PeerUnavailable(f"{self._peer.name} does not count: {refusal.reason}", peer=self._peer.name) from refusal
        return {counted.column: counted.count for counted in response.counts}
