"""A referrer says to an owner that it refers to its things, before it follows its feed.

The head that a stream begins with is thus reported after the registration: until everything up to it is applied, the
guards let nothing refer (rules 7 and 8 as the model mended them).
"""

from collections.abc import Awaitable, Callable, Sequence

from teppan.common.v1 import references_pb2, references_pb2_grpc

from referring import Column, Rule
from rpccommon.client import Peer

REGISTER_SECONDS = 5.0


def registration(peer: Peer, service: str, columns: Sequence[Column]) -> Callable[[], Awaitable[Sequence[str]]]:
    """Registers what of the contract's columns this service refers to that peer by, and gives them ("bookings.station_id").

    What may dangle is not registered: nobody asks for it. The call raises faults, PURGE_UNFINISHED among them.
    """
    held = [column for column in columns if (column.service, column.owner) == (service, peer.name) and column.rule is not Rule.KEEP]
    stub = references_pb2_grpc.ReferencesServiceStub(peer.channel)
    request = references_pb2.RegisterReferrerRequest(
        columns=[
            references_pb2.ReferrerColumn(type=column.type, column=f"{column.table}.{column.name}", on_delete=column.rule.value)  # type: ignore[arg-type]  # a number of that enum
            for column in held
        ]
    )

    async def register() -> Sequence[str]:
        if held:
            await peer.call(stub.RegisterReferrer, request, timeout=REGISTER_SECONDS)
        return [column.column for column in request.columns]

    return register
