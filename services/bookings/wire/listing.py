"""Pages of ListBookings, and the tokens that lead from one to the next."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from teppan.bookings.v1 import bookings_pb2 as pb

from bookings.store.listing import ListQuery, Row
from bookings.wire.bookings import fill
from bookings.wire.values import instant_from_pb
from faults import InvalidArgument, PageTokenInvalid
from pages import PAGE_BYTES_MAX, Page, TokenRefused, Tokens, bound, page_size

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def list_query_from_pb(request: pb.ListBookingsRequest, tokens: Tokens) -> ListQuery:
    """Raises InvalidArgument for a time that there is not, PageTokenInvalid for a token of anything but this list."""
    start_from = instant_from_pb(request.start_time_from, "start_time_from") if request.HasField("start_time_from") else None
    before = instant_from_pb(request.start_time_before, "start_time_before") if request.HasField("start_time_before") else None
    if start_from and before and start_from >= before:
        raise InvalidArgument({"start_time_before": "it is not after start_time_from"})
    query = ListQuery(
        station_id=UUID(request.station_id),
        start_from=start_from,
        start_before=before,
        states=tuple(sorted(request.states)),
        descending=request.order_by != pb.BOOKING_ORDER_START_TIME_ASC,
        page_size=page_size(request.page_size),
    )
    if not request.page_token:
        return query
    try:
        micros, booking_id = tokens.open(_purpose(query), request.page_token)["after"]
    except TokenRefused as refused:
        raise PageTokenInvalid({"page_token": f"{refused}; begin at the first page"}) from refused
    return query.following((_EPOCH + timedelta(microseconds=micros), UUID(booking_id)))


def page_to_pb(page: Page[Row], query: ListQuery, tokens: Tokens) -> Iterator[pb.ListBookingsResponse]:
    """A page as a message; as several, each with a token of its own, where it is larger than 1 MiB.

    The last page of the data has no token.
    """
    message = pb.ListBookingsResponse()
    bookings = message.bookings
    for row in page.rows:
        fill(bookings.add(), row)
    if message.ByteSize() > PAGE_BYTES_MAX:
        half = len(page.rows) // 2
        first, key = page.rows[:half], page.rows[half - 1]
        yield from page_to_pb(Page(rows=first, next=(key["start_time"], key["id"])), query, tokens)
        yield from page_to_pb(Page(rows=page.rows[half:], next=page.next), query, tokens)
        return
    if page.next:
        start, booking_id = page.next
        micros = (start - _EPOCH) // timedelta(microseconds=1)
        message.next_page_token = tokens.sign(_purpose(query), {"after": [micros, str(booking_id)]})
    yield message


def _purpose(query: ListQuery) -> str:
    """Everything that decides which rows come in which order; not the page size, which may change on the way."""
    return bound(
        "ListBookings",
        station=query.station_id,
        start_from=query.start_from,
        before=query.start_before,
        states=query.states,
        descending=query.descending,
    )
