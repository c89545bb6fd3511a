"""What happens by itself: bookings learns of money from payments, and has bookings expire whose deposit does not come."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bookings.usecases.deposits import Account, Deposits
from dbcommon.database import Transaction

SWEEP_SECONDS = 1.0

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """Looks for bookings whose deposit is overdue; run by the elected process, though two would do no harm."""

    deposits: Deposits

    async def run(self) -> None:
        """Endless."""
        while True:
            if not await self.deposits.ask():
                await asyncio.sleep(SWEEP_SECONDS)
