"""Teppan's side of a bench: the service bookings as it is, and its call layer before a method that does nothing.

Both verify tokens by a key of the bench's own. Instead of identity's feed they hear heartbeats: everything that a call asks of it is asked.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import uvloop
from prometheus_client import CollectorRegistry
from teppan.bookings.v1 import bookings_pb2, bookings_pb2_grpc
from teppan.common.v1 import events_pb2

from bookings import config
from bookings.__main__ import build
from dbcommon.database import Database
from rpccommon.auth import Verifier
from rpccommon.calls import Calls
from rpccommon.keys import FixedKeys
from rpccommon.policies import policies
from rpccommon.revocations import Revocations
from rpccommon.server import Server
from rpccommon.telemetry import Telemetry, logging_to
from service import freeze, now, serving

HEARTBEAT_SECONDS = 2.0
SERVICE = bookings_pb2.DESCRIPTOR.services_by_name["BookingsService"]


async def heartbeats(_: events_pb2.StreamEventsRequest) -> AsyncGenerator[events_pb2.StreamEventsResponse, None]:
    """A feed in which nothing happens."""
    while True:
        message = events_pb2.StreamEventsResponse(cursor="-")
        message.complete_until_time.FromDatetime(datetime.now(UTC))
        yield message
        await asyncio.sleep(HEARTBEAT_SECONDS)


def verifier(jwks: str) -> Verifier:
    """Knows the bench's key."""
    keys = FixedKeys.from_jwks(jwks)
    return Verifier(keys, keys, Revocations(heartbeats, now), now)


class Nothing(bookings_pb2_grpc.BookingsServiceServicer):
    """Does nothing."""

    async def GetBooking(self, request: Any, context: Any) -> bookings_pb2.GetBookingResponse:
        """Answers with nothing."""
        return bookings_pb2.GetBookingResponse()


async def empty(listen: str, jwks: str) -> None:
    """Serves a method that does nothing, behind everything that stands before every method."""
    known = verifier(jwks)
    heard = asyncio.create_task(known.revocations.run())
    calls = Calls(
        "bench", policies(SERVICE), known, Telemetry("bench", CollectorRegistry()), fresh=known.revocations.require
    )  # fmt: skip

    def register(server: grpc.aio.Server) -> None:
        bookings_pb2_grpc.add_BookingsServiceServicer_to_server(Nothing(), server)  # type: ignore[abstract]  # one method is called

    async def ready() -> str | None:
        return None

    server = Server("bench", listen, calls, [register], [SERVICE.full_name], ready, applied=known.revocations.applied)
    await server.start()
    freeze()
    await heard


async def bookings(jwks: str) -> None:
    """Serves bookings, as its environment says; the services that it would follow are not there."""
    made = build(config.read(os.environ))
    made = replace(made, verifier=verifier(jwks))
    asyncio.get_running_loop().create_task(_fresh(made.parts.platform))
    async with serving(made):
        freeze()
        await asyncio.Event().wait()


async def _fresh(platform: Database) -> None:
    """Says all the time that everything of identity has been heard."""
    while True:
        async with platform.transaction() as tx:
            await tx.execute("UPDATE bookings.feed_state SET complete_until = now() WHERE owner = 'identity'")
        await asyncio.sleep(HEARTBEAT_SECONDS)


def main(arguments: list[str]) -> None:
    """`empty` or `bookings`, with the key's JWK Set in a file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("empty", "bookings"))
    parser.add_argument("--jwks", type=Path, required=True)
    parser.add_argument("--listen", default="")
    parser.add_argument("--log", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    logging_to(chosen.log.open("a"))
    jwks = chosen.jwks.read_text()
    uvloop.run(empty(chosen.listen, jwks) if chosen.what == "empty" else bookings(jwks))


if __name__ == "__main__":
    main(sys.argv[1:])
