"""The numbers that a station's bookings follow. A booking keeps the version that it was made under."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A version of the policy; amounts in minor units of the station's currency."""

    version: int = 1
    adult_minor: int = 5_500
    child_minor: int = 3_000
    infant_minor: int = 0
    food_minimum_minor: int = 55_000
    deposit_minor: int = 10_000
    lead_time: timedelta = timedelta(hours=48)
    horizon: timedelta = timedelta(days=365)
    deposit_patience: timedelta = timedelta(hours=24)
    deposit_patience_least: timedelta = timedelta(minutes=30)
    full_refund_days: int = 7
    half_refund_days: int = 3


DEFAULT_POLICY = Policy()
