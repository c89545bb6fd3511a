"""One effect for each request: those that change something are sent again, by the same request, and counted in the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from demo.calls import new_id

from bookings.domain.bookings import State

MARKED = {
    "customers.CreateCustomer": "SELECT name AS mark, id FROM bookings.customers WHERE name = ANY ($1)",
    "bookings.CreateBooking": "SELECT requests AS mark, id FROM bookings.bookings WHERE requests = ANY ($1)",
    "payments.CreatePayment": "SELECT booking_id::text AS mark, id FROM payments.payments WHERE booking_id::text = ANY ($1)",
}
"""How rows are found by what their requests said, and not by what the services noted of them."""
MADE = {"CreateCustomer": "customer", "CreateBooking": "booking", "CreatePayment": "payment", "CancelBooking": "booking"}


@dataclass(slots=True, kw_only=True)
class Asked:
    """A request that has one effect, and what became of it."""

    method: str
    request: Any
    made: str = ""
    """The ID that was answered; empty while there was no answer."""
    refused: bool = False
    """A rule refused it, and does so for every repeat."""

    @property
    def open(self) -> bool:
        """Whether nobody knows what became of it."""
        return not self.made and not self.refused

    @property
    def mark(self) -> str:
        """What its row says that no other request's row does."""
        return str(self.request.booking_id if self.method == "payments.CreatePayment" else self.request.request_id)

    def note(self, answer: Any, *, refused: bool) -> str:
        """Notes how it was answered, or refused by a rule; returns what is wrong with that, or nothing."""
        if answer:
            thing = MADE[self.method.partition(".")[2]]
            made, before = getattr(getattr(answer, thing), f"{thing}_id"), self.made
            self.made = made
            return f"made {made} after {before or 'a refusal'}" if self.refused or before not in {"", made} else ""
        self.refused = self.refused or refused
        return f"refused after it had made {self.made}" if refused and self.made else ""


def marked(field: str, request: Any) -> Any:
    """Puts the request's own ID into a field that its row keeps."""
    request.request_id = request.request_id or new_id()
    setattr(request, field, request.request_id)
    return request


async def miscounted(rows: asyncpg.Connection, asked: Sequence[Asked]) -> Mapping[str, object]:
    """Returns, by request, the rows there are where they are not the one that was answered, or none after a refusal."""
    wrong: dict[str, object] = {}
    for method, statement in MARKED.items():
        there: dict[str, list[str]] = {each.mark: [] for each in asked if each.method == method}
        for row in await rows.fetch(statement, list(there)):
            there[row["mark"]].append(str(row["id"]))
        for each in asked:
            if each.method == method and there[each.mark] != ([each.made] if each.made else []):
                wrong[f"{method} {each.mark}"] = there[each.mark]
    return wrong


async def not_cancelled(rows: asyncpg.Connection, asked: Sequence[Asked]) -> Sequence[UUID]:
    """Returns the bookings whose cancellation was acknowledged, and that are in another state."""
    ids = [each.made for each in asked if each.method == "bookings.CancelBooking" and each.made]
    found = await rows.fetch("SELECT id FROM bookings.bookings WHERE id = ANY ($1) AND state <> $2", ids, State.CANCELLED)
    return [row["id"] for row in found]


async def overfull(rows: asyncpg.Connection, station_name: str) -> Sequence[object]:
    """Returns the slots of stations of that name that more bookings are in than may be, or than were counted."""
    statement = (
        "SELECT s.station_id::text, s.local_date::text, s.local_start::text, s.capacity, s.taken, count(b.id) AS bookings"
        " FROM bookings.slots s JOIN identity.stations t ON t.id = s.station_id AND t.name = $1"
        " LEFT JOIN bookings.bookings b ON (b.station_id, b.slot_date, b.slot_start) = (s.station_id, s.local_date, s.local_start)"
        " AND b.state BETWEEN 1 AND 5"
        " GROUP BY s.station_id, s.local_date, s.local_start HAVING count(b.id) > s.capacity OR count(b.id) <> s.taken"
    )
    return [dict(row) for row in await rows.fetch(statement, station_name)]


async def disagreeing_money(rows: asyncpg.Connection, station_name: str) -> Sequence[object]:
    """Returns the accounts, of stations of that name, that differ from their payments or from what bookings knows of them."""
    statement = (
        "SELECT a.booking_id::text, a.captured_minor, a.refund_due_minor, b.paid_minor, p.amount_minor"
        " FROM payments.booking_accounts a JOIN identity.stations t ON t.id = a.station_id AND t.name = $1"
        " LEFT JOIN bookings.bookings b ON b.id = a.booking_id"
        " LEFT JOIN LATERAL (SELECT coalesce(sum(amount_minor), 0)::bigint AS amount_minor FROM payments.payments"
        "   WHERE booking_id = a.booking_id) p ON true"
        " WHERE (b.paid_minor, a.captured_minor) IS DISTINCT FROM (a.captured_minor - a.refunded_minor, p.amount_minor)"
        " OR a.refund_basis_points IS DISTINCT FROM b.refund_basis_points"
    )
    lost = (
        "SELECT l.booking_id::text, l.paid_minor AS lost_minor FROM bookings.lost_money l"
        " JOIN identity.stations t ON t.id = l.station_id AND t.name = $1"
    )
    return [dict(row) for each in (statement, lost) for row in await rows.fetch(each, station_name)]
