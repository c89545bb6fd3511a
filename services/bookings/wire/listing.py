"""Pages of ListBookings."""

from collections.abc import AsyncGenerator
from datetime import datetime
from functools import partial
from typing import Any

from teppan.bookings.v1 import bookings_pb2 as pb

from bookings.store.listing import ListQuery
from bookings.wire.bookings import fill
from dbcommon.encoded import EncodedPage
from faults import InvalidArgument
from ids import parsed
from pages import Page, Tokens, bound, page_size
from rpccommon.paging import Key, Pager
from rpccommon.values import all_of, bound_from_pb


def list_query_from_pb(request: pb.ListBookingsRequest, pager: Pager) -> ListQuery:
    """Raises InvalidArgument for a time that there is not, PageTokenInvalid for a token of anything but this list."""
    start_from, before = all_of(partial(_time, request, "start_time_from"), partial(_time, request, "start_time_before"))
    if start_from and before and start_from >= before:
        raise InvalidArgument({"start_time_before": "it is not after start_time_from"})
    return ListQuery(
        station_id=parsed(request.station_id),
        start_from=start_from,
        start_before=before,
        states=tuple(sorted(request.states)),
        descending=request.order_by != pb.BOOKING_ORDER_START_TIME_ASC,
        page_size=page_size(request.page_size),
        after=pager.key(request.page_token),
    )


def _time(request: Any, field: str) -> datetime | None:
    return bound_from_pb(getattr(request, field), field) if request.HasField(field) else None


def pager_of(request: pb.ListBookingsRequest, tokens: Tokens) -> Pager:
    """Binds tokens to everything that decides which rows come in which order; not to the page size, which may change on the way."""
    purpose = bound(
        "ListBookings",
        station=parsed(request.station_id),
        start_from=_bound(request, "start_time_from"),
        before=_bound(request, "start_time_before"),
        states=sorted(request.states),
        descending=request.order_by != pb.BOOKING_ORDER_START_TIME_ASC,
    )
    return Pager(tokens, purpose)


def _bound(request: Any, field: str) -> tuple[int, int] | None:
    """A time of the request as it was sent, also one that there is not: that is refused elsewhere."""
    instant = getattr(request, field)
    return (instant.seconds, instant.nanos) if request.HasField(field) else None


def page_to_pb(page: Page[Any], pager: Pager) -> AsyncGenerator[pb.ListBookingsResponse, None]:
    """A page as one message, or as several."""
    return pager.messages(page, pb.ListBookingsResponse, _add, _key)


def encoded_to_pb(page: EncodedPage, pager: Pager) -> bytes:
    """A page whose rows are bytes already, as a message: its token stands behind them."""
    token = pager.token(page.next) if page.next else ""
    return page.body + pb.ListBookingsResponse(next_page_token=token).SerializeToString()


def _add(message: pb.ListBookingsResponse, row: Any) -> None:
    fill(message.bookings.add(), row)


def _key(row: Any) -> Key:
    return row["start_time"], row["id"]
