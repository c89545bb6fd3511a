"""Deposits: bookings learns of them from payments, and asks it to close the account of a booking whose deposit is overdue."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from bookings.domain.bookings import Booking, expire, paid
from bookings.store import bookings as store
from bookings.store import slots as slot_store
from bookings.usecases.bookings import booking_event
from dbcommon.database import Database, Transaction

ASKED_AT_ONCE = 100
"""Bookings of one transaction."""
ASK_PAUSE_MIN, ASK_PAUSE_MAX = timedelta(minutes=1), timedelta(hours=1)
"""It doubles: an answer that cannot be applied keeps the next ones waiting behind it, each of them another row."""


log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What payments says of a booking's money."""

    station_id: UUID
    booking_id: UUID
    epoch: UUID
    version: int
    captured_minor: int
    """What was taken, whatever was given back since."""
    paid_minor: int
    closed_epoch: UUID | None
    """The epoch of the booking's event that closed the account; None where it is not closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposits:
    """The saga of a deposit, on the side that decides. `encode` makes the payload of a booking's events."""

    platform: Database
    encode: Callable[[Booking], bytes]
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]

    async def apply(self, tx: Transaction, account: Account) -> None:
        """Takes over what payments says, in the consumer's transaction; old news is nothing new. Raises BookingNotFound.

        An account is final that was closed in the present epoch of this service's feed: before a booking was EXPIRING, its
        events said OPEN, and it is EXPIRING only once. An answer to another epoch may be one to a booking that was lost in a
        restore; it is asked for again (`ask`), and decides nothing.
        """
        # The slot before the booking, as everywhere: the other order deadlocks, and an expired booking gives its place back.
        await slot_store.lock_slot_of_booking(tx, account.station_id, account.booking_id)
        present, epoch, version = await store.lock_paid(tx, account.station_id, account.booking_id)
        if epoch == account.epoch and version >= account.version:
            return
        final = account.closed_epoch is not None and account.closed_epoch == await store.present_epoch(tx)
        if epoch != account.epoch and account.captured_minor < present.paid_minor:  # never less within an epoch
            await store.note_lost(tx, account.booking_id)
            log.error("payments has lost money that it had told of", booking_id=str(account.booking_id))
        await store.found_again(tx, account.booking_id, account.captured_minor)
        known = paid(present, account.paid_minor, final=final, now=self.now())
        event = None if known is present else booking_event(known, self.encode, self.new_id())
        await store.save(tx, known, event, paid_epoch=account.epoch, paid_version=account.version)

    async def note_untold(self, tx: Transaction, epoch: UUID) -> int:
        """After payments has told of all accounts in an epoch: of how many bookings it had told that they are paid, and does not now: those that were not noted before.

        It was restored to before that. The bookings stay paid: nobody says that the money was given back.
        """
        lost = await store.note_untold(tx, epoch)
        if lost:
            log.error("payments has lost money that it had told of", bookings=lost)
        return lost

    async def ask(self) -> int:
        """Asks payments to close the accounts of bookings that are overdue, or asked for in vain; how many, of each at most 100.

        Their event is the question: it says CLOSED. The booking keeps its place until the answer.
        """
        now = self.now()
        async with self.platform.transaction() as tx:
            due = [
                *await store.lock_overdue(tx, now=now, limit=ASKED_AT_ONCE),
                *await store.lock_unanswered(tx, now=now, least=ASK_PAUSE_MIN, most=ASK_PAUSE_MAX, limit=ASKED_AT_ONCE),
            ]
            for booking in due:
                asked = expire(booking, now)
                await store.save(tx, asked, booking_event(asked, self.encode, self.new_id()))
        return len(due)
