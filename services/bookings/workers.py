"""What happens by itself: bookings learns of money from payments, and has bookings expire whose deposit does not come."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from bookings.usecases.deposits import Account, Deposits
from dbcommon.database import Transaction

SWEEP_SECONDS = 1.0

log = structlog.get_logger()

AccountReader = Callable[[Any], Account]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """Applies payments' accounts to bookings."""

    deposits: Deposits
    read: AccountReader

    async def apply(self, tx: Transaction, event: Any) -> None:
        """Takes over what an account's event says.

        Money for a booking that nobody knows (this database was restored, say) raises BookingNotFound, and so is parked: with
        its metric, its row in `make sagas`, and an operator who replays it once the booking is back, or gives the money back.
        """
        await self.deposits.apply(tx, self.read(event))

    async def unsaid(self, tx: Transaction, epoch: UUID) -> int:
        """After payments has told of all accounts in an epoch: of how many bookings it had said that they were paid, and says so no more.

        It was restored, and has lost what it took. The bookings stay as they are, and are listed by `make sagas`.
        """
        bookings = await self.deposits.forget_unsaid(tx, epoch)
        if bookings:
            log.error("payments knows nothing of money that it had told of", bookings=len(bookings), first=str(min(bookings)))
        return len(bookings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """Looks for bookings whose deposit is overdue; run by the elected process, though two would do no harm."""

    deposits: Deposits

    async def run(self) -> None:
        """Endless."""
        while True:
            if not await self.deposits.ask():
                await asyncio.sleep(SWEEP_SECONDS)
