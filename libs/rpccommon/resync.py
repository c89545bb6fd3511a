"""What an owner has now, over gRPC: for those whose cursor its feed refused. Who applies it is in dbcommon."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID, uuid5

from teppan.common.v1 import events_pb2, references_pb2, references_pb2_grpc

from faults import PeerUnavailable
from rpccommon.client import Peer, prompt

SILENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of all things of one type, each as an event of it would say it."""

    head: tuple[UUID, int]
    cursor: str
    type: str
    events: Sequence[events_pb2.Event]


async def referents(peer: Peer, types: Sequence[str]) -> AsyncGenerator[Page, None]:
    """Everything of these types that a peer has, type by type, each by ID. Raises PeerUnavailable where a stream breaks off."""
    stub = references_pb2_grpc.ReferencesServiceStub(peer.channel)
    for type in types:
        stream = peer.stream(stub.StreamReferents, references_pb2.StreamReferentsRequest(type=type))
        complete = False
        async with aclosing(prompt(stream, peer.name, SILENCE_SECONDS)) as messages:
            async for message in messages:
                complete = message.complete
                yield _page_from_pb(type, message)
        if not complete:
            raise PeerUnavailable(f"what {peer.name} has of {type} broke off", peer=peer.name)


def _page_from_pb(type: str, message: references_pb2.StreamReferentsResponse) -> Page:
    return Page(
        head=(UUID(message.epoch), message.position),
        cursor=message.cursor,
        type=type,
        events=[_event_from_pb(type, message, referent) for referent in message.referents],
    )


def _event_from_pb(
    type: str, message: references_pb2.StreamReferentsResponse, referent: references_pb2.Referent
) -> events_pb2.Event:  # fmt: skip
    """The event that would have led there, at the place of the head; its ID is the same however often it is made."""
    answer = referent.answer
    return events_pb2.Event(
        event_id=str(uuid5(UUID(message.epoch), f"{type}/{referent.id}/{answer.version}")),
        type=type,
        entity_id=referent.id,
        station_id=referent.station_id,
        epoch=message.epoch,
        position=message.position,
        version=answer.version,
        referent_state=answer.state,
        payload=answer.facts if answer.HasField("facts") else None,
    )
