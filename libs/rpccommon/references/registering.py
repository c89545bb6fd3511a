"""A referrer says to an owner that it refers to its things, before it follows its feed.

The head that a stream begins with is thus reported after the registration: until everything up to it is applied, the
guards let nothing refer (rules 7 and 8 as the model mended them).
"""

from collections.abc import Awaitable, Callable, Sequence

import structlog
from teppan.common.v1 import references_pb2, references_pb2_grpc

from faults import PeerUnavailable, PurgeUnfinished
from referring import Column, Rule
from rpccommon.client import Peer
from rpccommon.feed import Registered

REGISTER_SECONDS = 5.0

log = structlog.get_logger()


def registration(peer: Peer, service: str, columns: Sequence[Column]) -> Callable[[], Awaitable[Registered]]:
    """Registers what of the contract's columns this service refers to that peer by.

    What may dangle is not registered: nobody asks for it. The call raises faults.
    """
    held = [column for column in columns if (column.service, column.owner) == (service, peer.name) and column.rule is not Rule.KEEP]
    stub = references_pb2_grpc.ReferencesServiceStub(peer.channel)

    async def accepted(some: Sequence[Column]) -> bool:
        """Whether they may be registered now."""
        try:
            await peer.call(stub.RegisterReferrer, _request(some), timeout=REGISTER_SECONDS)
        except PeerUnavailable as refusal:
            if refusal.answered != PurgeUnfinished.reason:
                raise
            log.warning("a purge keeps columns from being registered", peer=peer.name, columns=[column.place for column in some])
            return False
        return True

    async def register() -> Registered:
        if not held or await accepted(held):
            return Registered(columns=[column.place for column in held])
        each = [column.place for column in held if await accepted([column])]
        return Registered(columns=each, complete=len(each) == len(held))

    return register


def _request(columns: Sequence[Column]) -> references_pb2.RegisterReferrerRequest:
    return references_pb2.RegisterReferrerRequest(
        columns=[
            references_pb2.ReferrerColumn(type=column.type, column=column.place, on_delete=column.rule.value)  # type: ignore[arg-type]  # a number of that enum
            for column in columns
        ]
    )
