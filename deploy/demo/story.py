"""One booking, followed aloud through all three services; and what is refused, with the answers that callers get."""

import asyncio
from collections.abc import Callable
from datetime import time

import grpc
from teppan.bookings.v1 import bookings_pb2
from teppan.client import refusal
from teppan.payments.v1 import payments_pb2

from demo.calls import Backend, new_id
from demo.scene import FIRST_DAY, Scene, booking, day

FREE_DAY = 300
CONFIRM_SECONDS = 30.0
POLL_SECONDS = 0.05

Say = Callable[[str], None]


class Unlike(Exception):
    """Something went otherwise than it should; the message says what."""


async def follow(backend: Backend, scene: Scene, say: Say) -> None:
    """Booked, paid, confirmed by the feed, cancelled."""
    place, agent = scene.main, scene.tokens["agent"]
    made = (await backend.call("bookings.CreateBooking", booking(place, day(FREE_DAY), time(18), 1), agent)).booking
    lines = ", ".join(f"{line.quantity} {line.kind} at {line.unit_minor}" for line in made.price_lines)
    say(f"bookings: {made.reference} is PENDING, {made.total_minor} {made.currency_code} minor units ({lines})")
    payment = payments_pb2.CreatePaymentRequest(
        request_id=new_id(), station_id=place.station_id, booking_id=made.booking_id, amount_minor=made.deposit_minor,
        kind=payments_pb2.PAYMENT_KIND_DEPOSIT, method=payments_pb2.PAYMENT_METHOD_CASH, currency_code=made.currency_code,
    )  # fmt: skip
    paid = (await backend.call("payments.CreatePayment", payment, agent)).payment
    say(f"payments: asked bookings for {made.reference}, and took the deposit of {paid.amount_minor} in cash")
    loop = asyncio.get_running_loop()
    started = loop.time()
    while (now := await _get(backend, agent, made)).state != bookings_pb2.BOOKING_STATE_CONFIRMED:
        if loop.time() - started > CONFIRM_SECONDS:
            raise Unlike(f"{made.reference} was paid and is not CONFIRMED after {CONFIRM_SECONDS:g} s")
        await asyncio.sleep(POLL_SECONDS)
    say(f"bookings: heard of it by payments' feed within {(loop.time() - started) * 1e3:.0f} ms: {now.reference} is CONFIRMED")
    cancel = bookings_pb2.CancelBookingRequest(
        request_id=new_id(), station_id=place.station_id, booking_id=made.booking_id,
        cancelled_by=bookings_pb2.CANCELLED_BY_CUSTOMER,
    )  # fmt: skip
    ended = (await backend.call("bookings.CancelBooking", cancel, agent)).booking
    say(
        f"bookings: cancelled by the customer {(day(FREE_DAY) - day(0)).days} days ahead: {ended.refund_basis_points / 100:g}% is refunded"
    )


async def _get(backend: Backend, token: str, made: bookings_pb2.Booking) -> bookings_pb2.Booking:
    request = bookings_pb2.GetBookingRequest(station_id=made.station_id, booking_id=made.booking_id)
    answer: bookings_pb2.GetBookingResponse = await backend.call("bookings.GetBooking", request, token)
    return answer.booking


async def refusals(backend: Backend, scene: Scene, say: Say) -> None:
    """Each with the code and the reason that it must have."""
    main, elsewhere = scene.main, scene.places[1]
    agent, viewer = scene.tokens["agent"], scene.tokens["viewer"]
    foreign = booking(elsewhere, day(FREE_DAY), time(18), 1)
    random = booking(elsewhere, day(FREE_DAY), time(18), 1)
    random.station_id = new_id()
    bad = booking(main, day(FREE_DAY), time(18), 1)
    bad.customer_id, bad.guests.adults = "me", 51
    cases = [
        ("a slot that is full", booking(main, day(FIRST_DAY), time(0), 1), agent, "FAILED_PRECONDITION SLOT_FULL"),
        ("a slot tomorrow", booking(main, day(1), time(0), 1), agent, "FAILED_PRECONDITION LEAD_TIME"),
        ("no token", booking(main, day(FREE_DAY), time(18), 1), "", "UNAUTHENTICATED TOKEN_MISSING"),
        ("a viewer who books", booking(main, day(FREE_DAY), time(18), 1), viewer, "PERMISSION_DENIED PERMISSION_DENIED"),
        ("somebody else's station", foreign, agent, "PERMISSION_DENIED PERMISSION_DENIED"),
        ("a station that is not there", random, agent, "PERMISSION_DENIED PERMISSION_DENIED"),
        ("the same, as administrator", random, scene.admin, "NOT_FOUND REFERENCE_NOT_FOUND"),
        ("two bad fields", bad, agent, "INVALID_ARGUMENT FIELDS_INVALID"),
    ]
    for what, request, token, expected in cases:
        try:
            await backend.call("bookings.CreateBooking", request, token)
        except grpc.aio.AioRpcError as error:
            refused = refusal(error)
        else:
            raise Unlike(f"{what} was not refused")
        if f"{refused.code} {refused.reason}" != expected:
            raise Unlike(f"{what}: {refused}, and not {expected}")
        say(f"{what}: {refused.code} {refused.reason}: {refused.message}")
