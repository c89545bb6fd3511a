"""Pages of ListPayments."""

from collections.abc import AsyncGenerator
from typing import Any

from teppan.payments.v1 import payments_pb2 as pb

from ids import parsed
from pages import Page, Tokens, bound, page_size
from payments.store import ListQuery
from payments.wire.payments import fill
from rpccommon.paging import Key, Pager
from rpccommon.values import optional_id


def list_query_from_pb(request: pb.ListPaymentsRequest, pager: Pager) -> ListQuery:
    """Raises PageTokenInvalid for a token of anything but this list."""
    return ListQuery(
        station_id=parsed(request.station_id),
        booking_id=optional_id(request.booking_id),
        page_size=page_size(request.page_size),
        after=pager.key(request.page_token),
    )


def pager_of(request: pb.ListPaymentsRequest, tokens: Tokens) -> Pager:
    """Binds tokens to everything that decides which rows come; not to the page size, which may change on the way."""
    purpose = bound("ListPayments", station=parsed(request.station_id), booking=optional_id(request.booking_id))
    return Pager(tokens, purpose)


def page_to_pb(page: Page[Any], pager: Pager) -> AsyncGenerator[pb.ListPaymentsResponse, None]:
    """A page as one message, or as several."""
    return pager.messages(page, pb.ListPaymentsResponse, _add, _key)


def _add(message: pb.ListPaymentsResponse, row: Any) -> None:
    fill(message.payments.add(), row)


def _key(row: Any) -> Key:
    return row["create_time"], row["id"]
