"""Requests that nobody would send, to every method: each gets an answer that names what is wrong, and the services live on."""

import asyncio
import io
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from rpccommon.policies import path
from tests.integration.stage import Teppan, new
from tests.integration.test_bookings_isolation import methods
from tests.unit.rpc_bookings import logged

FAULTS = {"INTERNAL", "UNKNOWN", "CANCELLED", "UNIMPLEMENTED", "DATA_LOSS", "DEADLINE_EXCEEDED"}
"""What no request may end with; the last is a call that hangs, but for feeds, which go on for as long as somebody reads them."""
FEED = "StreamEvents"
SECONDS = 10.0
FEED_SECONDS = 0.3
AT_ONCE = 8
TEXTS = (
    "",
    "x",
    "\0",
    "a\nb",
    "\u202e",
    "é" * 300,
    "🍜",
    "'; DROP TABLE bookings.bookings; --",
    "x" * 5_000,
    "%s{}$1",
    "0",
    "-1",
    "NaN",
)
NUMBERS = (0, 1, -1, 2, 50, 51, 2**15, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 99)


class Requests:
    """Makes requests by a seed: some nearly right, some absurd, some no messages at all."""

    def __init__(self, chance: random.Random, ids: list[str]) -> None:
        """`ids` are of things that there are."""
        self._chance, self._ids = chance, ids

    def body(self, method: MethodDescriptor) -> bytes:
        """The bytes of one."""
        message = GetMessageClass(method.input_type)()
        self._fill(message, depth=0)
        body = bytearray(message.SerializeToString())
        kind = self._chance.random()
        if kind < 0.1:  # a tenth
            return self._chance.randbytes(self._chance.randrange(200))
        if kind < 0.25 and body:  # some more
            for _ in range(self._chance.randrange(1, 4)):
                body[self._chance.randrange(len(body))] = self._chance.randrange(256)
        return bytes(body)

    def _fill(self, message: Message, *, depth: int) -> None:
        for field in message.DESCRIPTOR.fields:
            if self._chance.random() < 0.15:  # left out
                continue
            if field.is_repeated:
                count = self._chance.choice((0, 1, 2, 3, 30))
                for _ in range(count):
                    self._add(getattr(message, field.name), field, depth)
            elif field.message_type is not None:
                inner = getattr(message, field.name)
                inner.SetInParent()
                if depth < 4:  # deep enough
                    self._fill(inner, depth=depth + 1)
            else:
                setattr(message, field.name, self._value(field))

    def _add(self, values: Any, field: Any, depth: int) -> None:
        if field.message_type is None:
            values.append(self._value(field))
        else:
            self._fill(values.add(), depth=depth + 1)

    def _value(self, field: Any) -> Any:
        kind = field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_STRING:
            if field.type == FieldDescriptor.TYPE_BYTES:
                return self._chance.randbytes(self._chance.randrange(50))
            likely = field.name.endswith(("_id", "_ids", "id"))
            return (
                self._chance.choice(self._ids) if likely and self._chance.random() < 0.9 else self._chance.choice(TEXTS)
            )  # as a rule
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return self._chance.random() < 0.5  # either
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return self._chance.choice((0, 1, 2, 3, 99, -1))
        if kind in {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}:
            return self._chance.choice((0.0, -1.5, float("inf"), float("nan")))
        return self._within(field, self._chance.choice(NUMBERS))

    def _within(self, field: Any, number: int) -> int:
        small = field.cpp_type in {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32}
        unsigned = field.cpp_type in {FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64}
        return abs(number) % 2**31 if unsigned else max(-(2**31), min(2**31 - 1, number)) if small else number


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with logged() as stream:
        yield stream


@pytest.mark.parametrize("count", [1_000, pytest.param(20_000, marks=[pytest.mark.long, pytest.mark.timeout(1_200)])])
async def test_no_request_is_a_fault_of_ours(own: Teppan, log: io.StringIO, tell: Callable[[str], None], count: int) -> None:
    seed = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().randrange(10**6))
    chance = random.Random(seed)  # repeatable
    station = await own.station()
    customer = await own.customer(station)
    booking = await own.booking(station, customer)
    requests, every = Requests(chance, [station, station, station, customer, booking.booking_id, new()]), list(methods())
    who = [own.admin, own.admin, own.member(station), (), *(own.service(name) for name in ("bookings", "payments"))]
    calls = [Call(*chance.choice(every), chance.choice(who)) for _ in range(count)]
    bodies = [requests.body(call.method) for call in calls]
    seen: Counter[str] = Counter()
    wrong: list[str] = []

    async def send(number: int) -> None:
        call = calls[number]
        code, said = await answer(own, call, bodies[number])
        seen[code] += 1
        if code in FAULTS and not (call.method.name == FEED and code == "DEADLINE_EXCEEDED"):
            wrong.append(f"seed {seed}: {call.method.full_name} {bodies[number].hex()} {code} {said}")

    for first in range(0, count, AT_ONCE):
        await asyncio.gather(*(send(number) for number in range(first, min(first + AT_ONCE, count))))
    tell(f"fuzz: seed {seed}, {dict(seen.most_common())}")
    assert not wrong, "\n".join(wrong[:5])
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line for line in lines if line["level"] in {"error", "critical"}] == []
    assert seen["OK"] > count / 50, "so few went through: it was not the methods that were tried"
    station = await own.station()
    assert (await own.booking(station, await own.customer(station))).booking_id, "they live"


class Call(NamedTuple):
    """Who calls what."""

    service: str
    method: MethodDescriptor
    metadata: Any


async def answer(own: Teppan, call: Call, body: bytes) -> tuple[str, str]:
    """The code that a call ends with, and its message."""
    channel: Any = own.channels[call.service]
    try:
        if call.method.server_streaming:
            seconds = FEED_SECONDS if call.method.name == FEED else SECONDS
            async for _ in channel.unary_stream(path(call.method))(body, metadata=call.metadata, timeout=seconds):
                pass
        else:
            await channel.unary_unary(path(call.method))(body, metadata=call.metadata, timeout=SECONDS)
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""
