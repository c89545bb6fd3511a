"""Times that others say, by clocks that may be wrong."""

from collections.abc import Callable
from datetime import datetime, timedelta

SKEW_SECONDS = 5
"""How far the clocks of those who work together may be apart."""
_SKEW = timedelta(seconds=SKEW_SECONDS)


class Completeness:
    """Up to when a feed is complete, as its owner says again and again by the owner's clock; judged by the clock here."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        """`now` is the clock here. Nothing was said yet."""
        self._now = now
        self._said: datetime | None = None
        self.until: datetime | None = None
        """What is believed of it; None before anything is."""

    def hear(self, said: datetime) -> None:
        """Takes over what was said last, be it less than before: a clock may be set back.

        A time that lies ahead comes from a clock that is, or was, wrong. When it moves, somebody moves it now; where it stands
        still, that may have been long ago, and would look fresh until time has caught up: it says nothing.
        """
        moves, self._said = self._said is not None and said != self._said, said
        now = self._now()
        if said <= now + _SKEW:
            self.until = said
        elif moves:
            self.until = now

    def stale(self, seconds: float) -> bool:
        """Whether that is so long ago; or lies ahead, because the clock here was set back."""
        now = self._now()
        return self.until is None or not now - timedelta(seconds=seconds) <= self.until <= now + _SKEW
