"""Pages of ListBookings."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from teppan.bookings.v1 import bookings_pb2 as pb

from bookings.store.listing import ListQuery
from bookings.wire.bookings import fill
from faults import InvalidArgument
from pages import Page, Tokens, bound, page_size
from rpccommon.paging import Key, Pager
from rpccommon.values import instant_from_pb


def list_query_from_pb(request: pb.ListBookingsRequest, pager: Pager) -> ListQuery:
    """Raises InvalidArgument for a time that there is not, PageTokenInvalid for a token of anything but this list."""
    start_from = instant_from_pb(request.start_time_from, "start_time_from") if request.HasField("start_time_from") else None
    before = instant_from_pb(request.start_time_before, "start_time_before") if request.HasField("start_time_before") else None
    if start_from and before and start_from >= before:
        raise InvalidArgument({"start_time_before": "it is not after start_time_from"})
    return ListQuery(
        station_id=UUID(request.station_id),
        start_from=start_from,
        start_before=before,
        states=tuple(sorted(request.states)),
        descending=request.order_by != pb.BOOKING_ORDER_START_TIME_ASC,
        page_size=page_size(request.page_size),
        after=pager.key(request.page_token),
    )


def pager_of(request: pb.ListBookingsRequest, tokens: Tokens) -> Pager:
    """Binds tokens to everything that decides which rows come in which order; not to the page size, which may change on the way."""
    purpose = bound(
        "ListBookings",
        station=UUID(request.station_id),
        start_from=request.start_time_from.ToNanoseconds() if request.HasField("start_time_from") else None,
        before=request.start_time_before.ToNanoseconds() if request.HasField("start_time_before") else None,
        states=sorted(request.states),
        descending=request.order_by != pb.BOOKING_ORDER_START_TIME_ASC,
    )
    return Pager(tokens, purpose)


def page_to_pb(page: Page[Any], pager: Pager) -> Iterator[pb.ListBookingsResponse]:
    """A page as one message, or as several."""
    return pager.messages(page, _message, _key)


def _message(rows: Sequence[Any]) -> pb.ListBookingsResponse:
    message = pb.ListBookingsResponse()
    bookings = message.bookings
    for row in rows:
        fill(bookings.add(), row)
    return message


def _key(row: Any) -> Key:
    return row["start_time"], row["id"]
