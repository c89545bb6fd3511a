"""The columns of ListBookings become what `wire.bookings.fill` makes of them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from teppan.bookings.v1 import bookings_pb2 as pb

from bookings.store.listing import NAMES
from bookings.wire.bookings import fill
from rowwire import Column, Encoder, Framing, Plan, Type
from tests.rows import rows

RENAMED = {
    "id": "booking_id", "version": "etag", "adults": "guests.adults", "children": "guests.children", "infants": "guests.infants",
}  # fmt: skip
TYPES = {
    "slot_date": Type.DATE, "slot_start": Type.TIME, "policy_version": Type.INT4, "refund_basis_points": Type.INT4, "version": Type.INT8,
    **dict.fromkeys(("id", "station_id", "customer_id", "created_by"), Type.UUID),
    **dict.fromkeys(("state", "adults", "children", "infants", "cancelled_by"), Type.INT2),
    **dict.fromkeys(("reference", "time_zone", "currency_code", "created_by_name"), Type.TEXT),
}  # fmt: skip
BOOKING = [
    Column(
        name=name,
        type=TYPES.get(name, Type.TIMESTAMPTZ if name.endswith("_time") else Type.INT8),
        field=RENAMED.get(name, name),
    )
    for name in NAMES
]
NULLABLE = ("created_by", "confirm_time", "refund_basis_points")
VALUES: dict[Type, st.SearchStrategy[Any]] = {
    Type.UUID: st.uuids() | st.just(UUID(int=0)),
    Type.INT2: st.integers(0, 2**15 - 1),
    Type.INT4: st.integers(0, 2**31 - 1),
    Type.INT8: st.integers(0, 2**63 - 1),
    Type.TEXT: st.text(st.sampled_from("az é€🍜"), max_size=30),
    Type.TIMESTAMPTZ: st.datetimes(timezones=st.just(UTC)) | st.just(datetime(1970, 1, 1, tzinfo=UTC)),
    Type.DATE: st.dates(),
    Type.TIME: st.integers(0, 24 * 60 - 1).map(lambda minute: datetime(2000, 1, 1, minute // 60, minute % 60, tzinfo=UTC).time()),
}


@st.composite
def bookings(draw: st.DrawFn) -> dict[str, Any]:
    """A row as the table may have it."""
    made = {column.name: draw(VALUES[column.type]) for column in BOOKING}
    made.update({name: None for name in NULLABLE if draw(st.booleans())})
    if draw(st.booleans()):  # not cancelled
        made["cancel_time"] = made["cancelled_by"] = None
    return made


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # 28 columns
@given(made=st.lists(bookings(), max_size=3), framing=st.sampled_from(Framing))
def test_a_page_of_bookings_is_the_page_of_fill(
    make_encoder: Callable[[Plan], Encoder], made: list[dict[str, Any]], framing: Framing
) -> None:
    page = pb.ListBookingsResponse()
    for booking in made:
        fill(page.bookings.add(), booking)
    plan = Plan.of(pb.Booking.DESCRIPTOR, BOOKING, field=pb.ListBookingsResponse.BOOKINGS_FIELD_NUMBER)
    data = rows(framing, BOOKING, [list(booking.values()) for booking in made])
    encoded = make_encoder(plan).encode(data, framing)
    assert encoded.body == page.SerializeToString(deterministic=True)
    if made:
        assert encoded.last is not None
        assert plan.values(data, encoded.last, framing, ["start_time", "id"]) == (made[-1]["start_time"], made[-1]["id"])
