"""The columns that refer to things of other services, as the contract declares them (see `rpccommon.registry`)."""

from dataclasses import dataclass
from enum import IntEnum


class Rule(IntEnum):
    """What becomes of the referring row when the thing is purged: the values of `teppan.common.v1.OnDelete`."""

    RESTRICT = 1
    CASCADE = 2
    NULLIFY = 3
    KEEP = 4


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Column:
    """A column that holds IDs of another service's things."""

    service: str
    """Whose schema it is in."""
    table: str
    name: str
    type: str
    """What it refers to: "identity.Station"."""
    rule: Rule

    @property
    def place(self) -> str:
        """Where it is in its service's schema, as registrations and counts name it: "bookings.station_id"."""
        return f"{self.table}.{self.name}"

    @property
    def owner(self) -> str:
        """The service that owns what it refers to."""
        return self.type.partition(".")[0]
