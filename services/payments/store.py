"""All SQL of payments. The row of an account is the lock of a booking's money; a trigger keeps it within what is owed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from dbcommon import feed, references
from dbcommon.constraints import refusing
from dbcommon.database import Database, Transaction
from dbcommon.feed import Event
from dbcommon.keyset import Key, Keyset
from dbcommon.references import Known
from dbcommon.sagas import Kind as SagaKind
from dbcommon.statements import inserting
from faults import FeedStale
from payments.domain import Account, Kind, Method, Payment, PaymentNotFound, State, overpaid
from payments.tables import outbox, payments


async def lock_account(tx: Transaction, station_id: UUID, booking_id: UUID) -> Account:
    """The account, locked until the transaction ends. Raises FeedStale where its known row is not there (any more)."""
    lock = f"SELECT {ACCOUNT} FROM payments.booking_accounts WHERE station_id = :station AND booking_id = :id FOR NO KEY UPDATE"
    row = (await tx.execute(lock, {"station": station_id, "id": booking_id})).first()
    if row is None:
        raise FeedStale("the booking has to be checked again", feed="bookings")
    return _account(row)


async def raise_versions(tx: Transaction, bookings: Sequence[UUID]) -> list[Account]:
    """Accounts of any station, for who has locked them, to be announced as they are."""
    statement = (
        "UPDATE payments.booking_accounts SET money_version = money_version + 1 WHERE booking_id = ANY(:ids)"
        f" RETURNING {ACCOUNT}"
    )  # fmt: skip
    return [_account(row) for row in await tx.execute(statement, {"ids": list(bookings)})]


async def record(tx: Transaction, payment: Payment, before: Account, *events: Event) -> None:
    """Writes a payment of a locked account, and what others are told, in one statement; a trigger counts the money.

    Raises Overpaid, ReferenceClosed, FeedStale: the database decides.
    """
    row = {
        **{name: getattr(payment, name) for name in _SAME},
        "id": payment.payment_id,
        "kind": payment.kind.value,
        "method": payment.method.value,
        "state": payment.state.value,
    }
    faults = {
        "accounts_not_overpaid": overpaid(before),
        **references.refusals("payments", "station_id", type="identity.Station", owner="identity"),
        **references.refusals("payments", "booking_id", type="bookings.Booking", owner="bookings"),
    }
    announcing, told = feed.appending(tx, outbox, *events)
    with refusing(faults):
        await tx.execute(f"WITH payment AS ({inserting(payments, row)}) {announcing}", {**row, **told})


async def get(app: Database, station_id: UUID, payment_id: UUID) -> Payment:
    """Raises PaymentNotFound."""
    body = f"SELECT {PAYMENT} FROM payments.payments b WHERE b.station_id = s.tenant AND b.id = $2 LIMIT 1"
    rows = await app.read(body, payment_id, tenant=station_id)
    if not rows:
        raise PaymentNotFound("there is no such payment in this station", payment_id=payment_id)
    return _payment(rows[0])


async def accounts_after(tx: Transaction, booking_id: UUID | None, limit: int) -> list[Account]:
    """Accounts of which something was ever announced, by booking, after one; of any station."""
    statement = (
        f"SELECT {ACCOUNT} FROM payments.booking_accounts WHERE money_version > 0 AND booking_id > :after"
        " ORDER BY booking_id LIMIT :limit"
    )
    return [_account(row) for row in await tx.execute(statement, {"after": booking_id or UUID(int=0), "limit": limit})]


async def announce(tx: Transaction, *events: Event) -> None:
    """Tells other services of changes, once the accounts' rows are locked."""
    await feed.append(tx, outbox, *events)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """What is asked for: one station's payments, the newest first; of one booking where it is named."""

    station_id: UUID
    booking_id: UUID | None
    page_size: int
    after: Key | None


def keyset(query: ListQuery) -> Keyset:
    """The list as a range of `(station_id, create_time, id)`, or of `(station_id, booking_id, create_time, id)`."""
    return Keyset(
        tenant=query.station_id,
        table="payments.payments",
        columns=PAYMENT,
        order="create_time",
        descending=True,
        where=[("b.booking_id =", query.booking_id)] if query.booking_id else [],
        page_size=query.page_size,
        after=query.after,
    )


SAGAS = (
    SagaKind(
        name="refund_due",
        waits_for="people, who give cash back by hand: it is due, not stuck",
        unfinished="SELECT booking_id AS entity_id, station_id, refund_due_time AS since FROM payments.booking_accounts WHERE refund_due_minor > 0",
    ),
)
"""What was begun and has not ended, for the metrics and `make sagas`."""

_FACTS = (
    "booking_id", "station_id", "customer_id", "currency_code", "total_minor", "captured_minor", "refunded_minor",
    "gratuity_minor", "refund_basis_points",
)  # fmt: skip
_SAME = (
    "station_id", "booking_id", "customer_id", "amount_minor", "currency_code", "created_by", "created_by_name", "version",
    "create_time", "update_time",
)  # fmt: skip
"""Columns and fields of one name and one type."""
PAYMENT = ", ".join(("id", "kind", "method", "state", *_SAME))
ACCOUNT = ", ".join((*_FACTS, "money_version", "state", "epoch", "version"))


def _account(row: Any) -> Account:
    return Account(
        **{name: row[name] for name in _FACTS},
        version=row["money_version"],
        closed_at=(row["epoch"], row["version"]) if row["state"] == Known.CLOSED else None,
    )


def _payment(row: Any) -> Payment:
    return Payment(
        **{name: row[name] for name in _SAME},
        payment_id=row["id"],
        kind=Kind(row["kind"]),
        method=Method(row["method"]),
        state=State(row["state"]),
    )
