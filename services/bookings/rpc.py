"""The servicers: parse, call, answer. Nothing is decided here."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from teppan.bookings.v1 import bookings_pb2 as bookings_pb
from teppan.bookings.v1 import bookings_pb2_grpc, customers_pb2_grpc, slots_pb2_grpc
from teppan.bookings.v1 import customers_pb2 as customers_pb
from teppan.bookings.v1 import slots_pb2 as slots_pb

from bookings.usecases.bookings import Bookings
from bookings.usecases.customers import Customers
from bookings.usecases.slots import Slots
from bookings.wire import bookings as bookings_wire
from bookings.wire import customers as customers_wire
from bookings.wire import listing as listing_wire
from bookings.wire import slots as slots_wire
from ids import parsed
from pages import Tokens
from rowwire import Encoder
from rpccommon.paging import limited
from rpccommon.present import caller

Context = Any
"""A grpc.aio.ServicerContext; nothing here uses it."""


class CustomersServicer(customers_pb2_grpc.CustomersServiceServicer):
    """CustomersService."""

    def __init__(self, customers: Customers) -> None:
        """Takes its use cases."""
        self._customers = customers

    async def CreateCustomer(
        self, request: customers_pb.CreateCustomerRequest, context: Context
    ) -> customers_pb.CreateCustomerResponse:
        """Makes a customer."""
        wanted = customers_wire.new_customer_from_pb(request)
        customer = await self._customers.create(caller(), wanted, request_id=UUID(request.request_id))
        return customers_pb.CreateCustomerResponse(customer=customers_wire.customer_to_pb(customer))


class SlotsServicer(slots_pb2_grpc.SlotsServiceServicer):
    """SlotsService."""

    def __init__(self, slots: Slots) -> None:
        """Takes its use cases."""
        self._slots = slots

    async def UpdateSchedule(self, request: slots_pb.UpdateScheduleRequest, context: Context) -> slots_pb.UpdateScheduleResponse:
        """Replaces a week."""
        wanted = slots_wire.new_schedule_from_pb(request)
        return slots_wire.replaced_to_pb(await self._slots.update(caller(), wanted, request_id=UUID(request.request_id)))

    async def SearchAvailability(
        self, request: slots_pb.SearchAvailabilityRequest, context: Context
    ) -> AsyncIterator[slots_pb.SearchAvailabilityResponse]:
        """Streams a message for each station."""
        async for station, slots in self._slots.search(*slots_wire.search_from_pb(request)):
            yield slots_wire.availability_to_pb(station, slots)


class BookingsServicer(bookings_pb2_grpc.BookingsServiceServicer):
    """BookingsService."""

    def __init__(self, bookings: Bookings, tokens: Tokens, encoder: Encoder | None) -> None:
        """Takes its use cases, what signs page tokens, and what encodes lists: without it they are made in Python."""
        self._bookings = bookings
        self._tokens = tokens
        self._encoder = encoder

    async def CreateBooking(self, request: bookings_pb.CreateBookingRequest, context: Context) -> bookings_pb.CreateBookingResponse:
        """Takes a place."""
        wanted = bookings_wire.new_booking_from_pb(request)
        booking = await self._bookings.create(caller(), wanted, request_id=UUID(request.request_id))
        return bookings_pb.CreateBookingResponse(booking=bookings_wire.booking_to_pb(booking))

    async def GetBooking(self, request: bookings_pb.GetBookingRequest, context: Context) -> bookings_pb.GetBookingResponse:
        """Reads one."""
        row = await self._bookings.read(parsed(request.station_id), UUID(request.booking_id))
        answer = bookings_pb.GetBookingResponse()
        bookings_wire.fill_whole(answer.booking, row)
        return answer

    async def ListBookings(self, request: bookings_pb.ListBookingsRequest, context: Context) -> AsyncIterator[Any]:
        """Streams pages, at most `page_limit` of them; messages, or their bytes."""
        pager = listing_wire.pager_of(request, self._tokens)
        query = listing_wire.list_query_from_pb(request, pager)
        if self._encoder is not None:
            async with aclosing(self._bookings.encoded(query, self._encoder, request.page_limit)) as encoded:
                async for page in encoded:
                    yield listing_wire.encoded_to_pb(page, pager)
            return
        pages = self._bookings.pages(query)
        async with aclosing(limited(pages, lambda page: listing_wire.page_to_pb(page, pager), request.page_limit)) as messages:
            async for message in messages:
                yield message

    async def CancelBooking(self, request: bookings_pb.CancelBookingRequest, context: Context) -> bookings_pb.CancelBookingResponse:
        """Ends one."""
        wanted = bookings_wire.cancellation_from_pb(request)
        booking = await self._bookings.cancel(caller(), wanted, request_id=UUID(request.request_id))
        return bookings_pb.CancelBookingResponse(booking=bookings_wire.booking_to_pb(booking))
