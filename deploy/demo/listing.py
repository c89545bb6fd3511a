"""The list: streamed whole, compared with what was made, and once more with a stream that breaks in the middle."""

from collections.abc import AsyncGenerator

from teppan.bookings.v1 import bookings_pb2
from teppan.client import aio

from demo.calls import Backend, bearer

PAGE_SIZE = 1_000
BREAKS_AFTER = 3
BROKEN_PAGE_SIZE = 100


class Incomplete(Exception):
    """The list is not what was made."""


def stream(
    backend: Backend, token: str, station_id: str, *, page_token: str = "", page_size: int = PAGE_SIZE
) -> AsyncGenerator[bookings_pb2.ListBookingsResponse, None]:
    """The pages, from a token on, to the last one."""
    request = bookings_pb2.ListBookingsRequest(
        station_id=station_id,
        order_by=bookings_pb2.BOOKING_ORDER_START_TIME_ASC,
        page_size=page_size,
        page_token=page_token,
    )
    return aio.pages(backend.method("bookings.ListBookings"), request, metadata=bearer(token))


async def whole(backend: Backend, token: str, station_id: str) -> list[str]:
    """The IDs of all bookings, by start."""
    return [booking.booking_id async for page in stream(backend, token, station_id) for booking in page.bookings]


async def broken(backend: Backend, token: str, station_id: str) -> list[str]:
    """The same by two streams: the first is dropped after some pages, the second resumes from the last token received."""
    found, last, pages = [], "", 0
    first = stream(backend, token, station_id, page_size=BROKEN_PAGE_SIZE)
    async for page in first:
        found += [booking.booking_id for booking in page.bookings]
        last, pages = page.next_page_token, pages + 1
        if pages == BREAKS_AFTER:
            break
    if not last:
        raise Incomplete(f"the list has no more than {pages} pages: there is nothing to resume")
    await first.aclose()
    async for page in stream(backend, token, station_id, page_token=last):
        found += [booking.booking_id for booking in page.bookings]
    return found


def expect(found: list[str], made: list[bookings_pb2.Booking]) -> None:
    """Raises Incomplete unless the list has each booking once, by start and ID."""
    order = sorted(made, key=lambda booking: (booking.start_time.ToNanoseconds(), booking.booking_id))
    if found != [booking.booking_id for booking in order]:
        raise Incomplete(f"the list has {len(found)} bookings ({len(set(found))} different ones), and {len(made)} were made")
