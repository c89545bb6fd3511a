"""A referrer asks the owner: what several calls want to know is asked once, together."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from google.protobuf import any_pb2
from teppan.common.v1 import references_pb2, references_pb2_grpc

from rpccommon.client import Method, Peer

CHECK_SECONDS = 2.0
GATHER_SECONDS = 0.001
ITEMS_MAX = 1_000
REFUSED_REMEMBERED = timedelta(seconds=1)
REFUSED_CACHED = 10_000

Item = tuple[UUID | None, UUID]
"""The tenant that a thing must belong to, and its ID."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the owner answered for one item."""

    epoch: UUID
    state: int
    """A value of `teppan.common.v1.ReferentState`."""
    version: int
    facts: any_pb2.Any | None


@dataclass(frozen=True, slots=True)
class _Question:
    type: str
    tenant: UUID | None
    id: UUID


class Checker:
    """The referrer's side: what several calls want to know at about the same time is asked once, together.

    What is not OPEN, or not there, is remembered for a second at most; nothing else is: known rows are the memory.
    """

    def __init__(self, peer: Peer, now: Callable[[], datetime]) -> None:
        """Asks nothing yet."""
        self._peer = peer
        self._now = now
        self._stub = references_pb2_grpc.ReferencesServiceStub(peer.channel)
        self._asked: dict[_Question, asyncio.Future[Answer]] = {}
        self._gathered: dict[str, list[_Question]] = {}
        self._refused: OrderedDict[_Question, tuple[Answer, datetime]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many questions have no answer yet."""
        return len(self._asked)

    async def check(self, type: str, items: Sequence[Item]) -> Sequence[Answer]:
        """Answers each item in order. Raises faults; who is cancelled meanwhile cancels nobody else."""
        self._peer.assert_idle()
        answers = [self._answer(_Question(type, tenant, thing)) for tenant, thing in items]
        if answers:
            await asyncio.wait(set(answers))
        return [answer.result() for answer in answers]

    def _answer(self, question: _Question) -> "asyncio.Future[Answer]":
        if (asked := self._asked.get(question)) is not None:
            return asked
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if (refused := self._refused.get(question)) and self._now() - refused[1] < REFUSED_REMEMBERED:
            answer.set_result(refused[0])
            return answer
        self._asked[question] = answer
        if question.type not in self._gathered:
            self._gathered[question.type] = []
            # In a context of its own: neither the deadline nor the call ID of whoever happened to be first.
            task = asyncio.create_task(self._ask_soon(question.type), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._gathered[question.type].append(question)
        return answer

    async def _ask_soon(self, type: str) -> None:
        await asyncio.sleep(GATHER_SECONDS)
        questions = self._gathered.pop(type)
        parts = [questions[first : first + ITEMS_MAX] for first in range(0, len(questions), ITEMS_MAX)]
        await asyncio.gather(*(self._ask(type, part) for part in parts))

    async def _ask(self, type: str, questions: Sequence[_Question]) -> None:
        try:
            answers = await ask(
                self._peer, self._stub.CheckReferences, type, [(question.tenant, question.id) for question in questions]
            )
            for question, answer in zip(questions, answers, strict=True):
                if answer.state != references_pb2.REFERENT_STATE_OPEN:
                    self._remember(question, answer)
                self._asked.pop(question).set_result(answer)
        except BaseException as error:
            for question in questions:
                if (waiting := self._asked.pop(question, None)) is not None:
                    _fail(waiting, error)
            if not isinstance(error, Exception):
                raise

    def _remember(self, question: _Question, answer: Answer) -> None:
        self._refused[question] = (answer, self._now())
        self._refused.move_to_end(question)
        if len(self._refused) > REFUSED_CACHED:
            self._refused.popitem(last=False)


async def ask(peer: Peer, check: Method, type: str, items: Sequence[Item]) -> Sequence[Answer]:
    """Asks an owner by its `CheckReferences`, whatever it said before: at most 1,000 items, answered in order and in one epoch. Raises faults."""
    asked = [references_pb2.ReferenceItem(station_id=str(tenant or ""), id=str(id)) for tenant, id in items]
    request = references_pb2.CheckReferencesRequest(type=type, items=asked)
    response = await peer.call(check, request, timeout=CHECK_SECONDS)
    return [_answer_from_pb(response.epoch, answer) for answer in response.answers]


def _fail(waiting: "asyncio.Future[Answer]", error: BaseException) -> None:
    if isinstance(error, Exception):
        waiting.set_exception(error)
        waiting.exception()  # seen, also where nobody waits any more
    else:
        waiting.cancel()


def _answer_from_pb(epoch: str, answer: references_pb2.ReferenceAnswer) -> Answer:
    return Answer(
        epoch=UUID(epoch),
        state=answer.state,
        version=answer.version,
        facts=answer.facts if answer.HasField("facts") else None,
    )
