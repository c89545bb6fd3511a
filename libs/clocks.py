"""Times that others say, by clocks that may be wrong."""

from collections.abc import Callable
from datetime import datetime, timedelta

SKEW_SECONDS = 5
"""How far the clocks of those who work together may be apart."""


class Claims:
    """Up to when a feed is complete, as its owner says again and again by the owner's clock."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        """`now` is the clock here."""
        self._now = now
        self._said: datetime | None = None

    def credible(self, said: datetime) -> datetime | None:
        """What of it holds by the clock here; None where it says nothing.

        A time that lies ahead comes from a clock that is, or was, wrong. While it moves, somebody moves it now; where it stands
        still, that may have been long ago, and would look fresh until time has caught up.
        """
        moves, self._said = said != self._said, said
        now = self._now()
        if said <= now + timedelta(seconds=SKEW_SECONDS):
            return said
        return now if moves else None
