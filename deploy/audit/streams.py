"""Asks the services, all at once, by their addresses: whatever stack has written them down."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from grpc.aio import AioRpcError
from teppan.client import aio
from teppan.common.v1 import audits_pb2 as pb
from teppan.common.v1 import audits_pb2_grpc

from local.database import SERVICES

STREAM_SECONDS = 24 * 3_600.0
"""An audit is slow; without a deadline of its own a call of the client would be given up after a minute."""

Told = Callable[[str, pb.AuditReferencesResponse], None]


class CannotAsk(Exception):
    """There is no stack to ask, or no such column; the message says why."""


def wanted(columns: str) -> Mapping[str, Sequence[str]]:
    """By service the columns of its own, of "bookings.slots.station_id ..."; all of all services where none is named."""
    if not columns.split():
        return dict.fromkeys(SERVICES, ())
    by: dict[str, list[str]] = {}
    for column in columns.split():
        service, _, name = column.partition(".")
        if service not in SERVICES or not name:
            raise CannotAsk(f"{column}: say a service, a table and a column, as in bookings.slots.station_id")
        by.setdefault(service, []).append(name)
    return by


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """How to call one."""

    addresses: Mapping[str, str]
    """By service."""
    email: str
    password: str = field(repr=False)
    ca: str | None
    """The file of its authority; None for plaintext, on this machine only."""


def load(described: Path) -> Stack:
    """What a running stack wrote into its `stack.json`. Raises CannotAsk."""
    try:
        known: Mapping[str, str] = json.loads(described.read_text())
        password = Path(known["password_file"]).read_text().strip()
    except FileNotFoundError as error:
        raise CannotAsk(f"no stack runs here: there is no {error.filename}") from error
    addresses = {service: known[service] for service in SERVICES}
    return Stack(addresses=addresses, email=known["email"], password=password, ca=known.get("ca"))


async def ask(stack: Stack, columns: Mapping[str, Sequence[str]], *, repair: bool, told: Told) -> Mapping[str, str]:
    """Tells each step of each service; which services did not come to an end, and why."""
    tls = aio.Tls.from_files(ca=stack.ca) if stack.ca else None
    async with AsyncExitStack() as channels:
        identity = await channels.enter_async_context(aio.channel(stack.addresses["identity"], tls=tls))
        login = aio.Login(identity, email=stack.email, password=stack.password)

        async def one(service: str, names: Sequence[str]) -> str:
            channel = await channels.enter_async_context(aio.channel(stack.addresses[service], token=login, tls=tls))
            request = pb.AuditReferencesRequest(columns=names, repair=repair)
            stream = audits_pb2_grpc.AuditsServiceStub(channel).AuditReferences(request, timeout=STREAM_SECONDS)
            ended = False
            try:
                async for step in stream:
                    told(service, step)
                    ended = step.HasField("end")
            except AioRpcError as error:
                return error.details() or error.code().name
            return "" if ended else "the stream broke off"

        why = await asyncio.gather(*(one(service, names) for service, names in columns.items()))
    return {service: reason for service, reason in zip(columns, why, strict=True) if reason}
