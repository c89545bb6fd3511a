"""What happens by itself: bookings learns of stations and users from identity, of money from payments."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bookings.domain.bookings import BookingNotFound
from bookings.usecases.bookings import Account, Bookings
from dbcommon.database import Transaction

AccountReader = Callable[[Any], Account]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposits:
    """Applies payments' accounts to bookings: the deposit's saga."""

    bookings: Bookings
    account: AccountReader
    unknown: Callable[[Account], None]

    async def apply(self, tx: Transaction, event: Any) -> None:
        """Takes over what an account's event says. Money for a booking that nobody knows is reported, and stays in payments."""
        account = self.account(event)
        try:
            await self.bookings.apply_account(tx, account)
        except BookingNotFound:
            self.unknown(account)
