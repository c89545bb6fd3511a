"""A servicer that does what a test wants, and what is seen of it."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.message import Message
from teppan.bookings.v1 import bookings_pb2, bookings_pb2_grpc
from teppan.common.v1 import options_pb2, references_pb2

from faults import NotFound
from rpccommon.present import call_id, caller, deadline_left
from rpccommon.telemetry import logging_to
from tests.unit.rpc_stage import STATION, bearer, user

BOOKING = "019a0000-0000-7000-8000-0000000000b0"
GET = bookings_pb2.GetBookingRequest(station_id=str(STATION), booking_id=BOOKING)
CANCEL = bookings_pb2.CancelBookingRequest(station_id=str(STATION), booking_id=BOOKING, request_id=BOOKING)
QUESTION = references_pb2.CheckReferencesRequest(type="identity.Station", items=[references_pb2.ReferenceItem(id=BOOKING)])
LIST = bookings_pb2.ListBookingsRequest(station_id=str(STATION))
VIEWER = bearer(user(station=options_pb2.ROLE_VIEWER))
GET_PATH = "/teppan.bookings.v1.BookingsService/GetBooking"


class BookingNotFound(NotFound):
    """A fault of a service's own."""

    reason = "BOOKING_NOT_FOUND"


class Bookings(bookings_pb2_grpc.BookingsServiceServicer):
    """Does what a test wants."""

    def __init__(self) -> None:
        self.fault: BaseException | None = None
        self.seconds = 0.0
        self.pages = 3
        self.page = bookings_pb2.ListBookingsResponse(next_page_token="more")  # noqa: S106  # no password
        self.after_page: Any = None
        self.calls: list[Any] = []
        self.ended = asyncio.Event()

    async def GetBooking(self, request: Message, context: Any) -> bookings_pb2.GetBookingResponse:
        self.calls.append((caller(), call_id(), deadline_left()))
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.ended.set()
        if self.fault:
            raise self.fault
        return bookings_pb2.GetBookingResponse()

    CancelBooking = GetBooking  # type: ignore[assignment]  # it does not look at the request

    async def ListBookings(self, request: Message, context: Any) -> AsyncIterator[bookings_pb2.ListBookingsResponse]:
        self.calls.append((caller(), call_id(), deadline_left()))
        try:
            for _ in range(self.pages):
                yield self.page
                if self.after_page:
                    await self.after_page()
            if self.fault:
                raise self.fault
        finally:
            self.ended.set()


async def failure(call: Any) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:  # noqa: PT012  # one call, of either kind
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    return failed.value


def lines(log: io.StringIO, event: str = "call") -> list[dict[str, Any]]:
    """The lines of one kind; without those of feeds, which services that other tests share may follow in this process."""
    found = [line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == event]
    return [line for line in found if line.get("method") != "/teppan.common.v1.EventsService/StreamEvents"]


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """What is logged meanwhile: lines of JSON."""
    stream, handlers, level = io.StringIO(), logging.root.handlers[:], logging.root.level
    logging_to(stream)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rpccommon.calls.log", structlog.get_logger())  # the one before may remember another stream
        yield stream
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
