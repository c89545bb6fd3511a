"""What a service answers: as the owner of things, and as one who refers to others'."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Protocol
from uuid import UUID

from google.protobuf import any_pb2
from teppan.common.v1 import references_pb2, references_pb2_grpc

from faults import InvalidArgument
from pages import Tokens
from referring import Column, Rule
from rpccommon.feed import CURSOR, Place
from rpccommon.present import caller
from rpccommon.references.checking import Item

MESSAGE_BYTES_MAX = 1024 * 1024


class Referent(Protocol):
    """What the owner has of one item."""

    @property
    def state(self) -> int:
        """A value of `teppan.common.v1.ReferentState`."""

    @property
    def version(self) -> int:
        """Within the epoch; 0 where there is no such thing."""

    @property
    def facts(self) -> bytes | None:
        """A serialised `google.protobuf.Any`; None where there is no such thing."""


class Page(Protocol):
    """Some of the things of one type, by ID."""

    @property
    def head(self) -> Place:
        """The end of the feed, read before the first page."""

    @property
    def referents(self) -> Sequence[tuple[UUID, UUID | None, Referent]]:
        """ID, tenant, and what there is."""

    @property
    def complete(self) -> bool:
        """Nothing follows."""


class Owned(Protocol):
    """A service's own things."""

    async def check(self, type: str, items: Sequence[Item]) -> tuple[UUID, Sequence[Referent]]:
        """The epoch of the feed, and what there is of each item, in order."""

    async def register(self, columns: Sequence[Column]) -> Place:
        """Asks who holds these columns before anything is purged; the end of the feed, read after that was stored.

        Raises InvalidArgument for things of others, PurgeUnfinished.
        """

    def stream(self, type: str, after_id: UUID | None) -> AsyncIterator[Page]:
        """All things of a type, after an ID. Raises InvalidArgument, FeedStale where the epoch changes meanwhile."""


class Referring(Protocol):
    """What refers here to things of others."""

    async def count(self, type: str, id: UUID, *, epoch: UUID, version: int) -> Sequence[tuple[Column, int]]:
        """What is left, by column. Raises NotClosedYet unless the thing is closed here at exactly that version."""


class RefersToNothing:
    """A service that refers to nothing of others."""

    async def count(self, type: str, id: UUID, *, epoch: UUID, version: int) -> Sequence[tuple[Column, int]]:
        """No column, which is no answer to an owner that expects one."""
        return ()


class ReferencesServicer(references_pb2_grpc.ReferencesServiceServicer):
    """Both sides."""

    def __init__(self, owned: Owned, referring: Referring, tokens: Tokens) -> None:
        """`tokens` sign the cursors of the service's feed."""
        self._owned = owned
        self._referring = referring
        self._tokens = tokens

    async def CheckReferences(
        self, request: references_pb2.CheckReferencesRequest, context: Any
    ) -> references_pb2.CheckReferencesResponse:
        """Answers each item for itself, in order."""
        items = [(UUID(item.station_id) if item.station_id else None, UUID(item.id)) for item in request.items]
        epoch, referents = await self._owned.check(request.type, items)
        return references_pb2.CheckReferencesResponse(epoch=str(epoch), answers=[_answer_to_pb(found) for found in referents])

    async def CountReferences(
        self, request: references_pb2.CountReferencesRequest, context: Any
    ) -> references_pb2.CountReferencesResponse:
        """Counts what is left."""
        counts = await self._referring.count(request.type, UUID(request.id), epoch=UUID(request.epoch), version=request.version)
        return references_pb2.CountReferencesResponse(counts=[_count_to_pb(column, count) for column, count in counts])

    async def RegisterReferrer(
        self, request: references_pb2.RegisterReferrerRequest, context: Any
    ) -> references_pb2.RegisterReferrerResponse:
        """Registers the caller, who speaks for itself only."""
        columns = [_column_from_pb(caller().subject, index, column) for index, column in enumerate(request.columns)]
        epoch, position = await self._owned.register(columns)
        return references_pb2.RegisterReferrerResponse(epoch=str(epoch), position=position)

    async def StreamReferents(
        self, request: references_pb2.StreamReferentsRequest, context: Any
    ) -> AsyncIterator[references_pb2.StreamReferentsResponse]:
        """Streams pages, each cut where it is larger than a MiB; no connection is held while one is being sent."""
        async for page in self._owned.stream(request.type, UUID(request.after_id) if request.after_id else None):
            for message in self._messages(page):
                yield message

    def _messages(self, page: Page) -> Iterator[references_pb2.StreamReferentsResponse]:
        epoch, position = page.head
        cursor = self._tokens.sign(CURSOR, {"epoch": str(epoch), "position": position}, None)
        message = references_pb2.StreamReferentsResponse(epoch=str(epoch), position=position, cursor=cursor)
        size = 0
        for id, tenant, found in page.referents:
            size += len(found.facts or b"")
            if size > MESSAGE_BYTES_MAX and message.referents:
                yield message
                message = references_pb2.StreamReferentsResponse(epoch=str(epoch), position=position, cursor=cursor)
                size = len(found.facts or b"")
            message.referents.add(id=str(id), station_id=str(tenant or ""), answer=_answer_to_pb(found))
        message.complete = page.complete
        yield message


def _answer_to_pb(found: Referent) -> references_pb2.ReferenceAnswer:
    return references_pb2.ReferenceAnswer(
        state=found.state,  # type: ignore[arg-type]  # a number of that enum
        version=found.version,
        facts=None if found.facts is None else any_pb2.Any.FromString(found.facts),
    )


def _count_to_pb(column: Column, count: int) -> references_pb2.ReferenceCount:
    return references_pb2.ReferenceCount(
        column=column.place,
        on_delete=column.rule.value,  # type: ignore[arg-type]  # a number of that enum
        count=count,
    )


def _column_from_pb(service: str, index: int, column: references_pb2.ReferrerColumn) -> Column:
    """A column of the service that calls. Raises InvalidArgument."""
    table, point, name = column.column.partition(".")
    if not (point and table and name):
        raise InvalidArgument({f"columns[{index}].column": "it must be a table, a point, and a column"})
    return Column(service=service, table=table, name=name, type=column.type, rule=Rule(column.on_delete))
