"""What a booking costs, line by line, in minor units."""

from collections.abc import Sequence
from dataclasses import dataclass

from bookings.domain.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Guests:
    """1 to 50 people: adults, children of 6 to 12 years, infants up to 5."""

    adults: int
    children: int
    infants: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the breakdown; `amount_minor` is `quantity * unit_minor`."""

    kind: str
    quantity: int
    unit_minor: int

    @property
    def amount_minor(self) -> int:
        """What the line adds to the total."""
        return self.quantity * self.unit_minor


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A breakdown: its lines sum to the total, of which the deposit is a part."""

    lines: Sequence[Line]
    deposit_minor: int

    @property
    def total_minor(self) -> int:
        """The sum of the lines."""
        return sum(line.amount_minor for line in self.lines)


def price(guests: Guests, policy: Policy) -> Price:
    """What these guests cost under a policy. Food costs its minimum at least: what is missing is a line of its own."""
    counted = (
        Line(kind="adults", quantity=guests.adults, unit_minor=policy.adult_minor),
        Line(kind="children", quantity=guests.children, unit_minor=policy.child_minor),
        Line(kind="infants", quantity=guests.infants, unit_minor=policy.infant_minor),
    )
    lines = [line for line in counted if line.quantity]
    missing = policy.food_minimum_minor - sum(line.amount_minor for line in lines)
    if missing > 0:
        lines.append(Line(kind="minimum", quantity=1, unit_minor=missing))
    total = sum(line.amount_minor for line in lines)
    return Price(lines=tuple(lines), deposit_minor=min(policy.deposit_minor, total))
