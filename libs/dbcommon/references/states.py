"""The states of a thing of another service, as its owner says them and as they are known here."""

from enum import IntEnum


class Known(IntEnum):
    """The states of a known row."""

    OPEN = 1
    CLOSING = 2
    CLOSED = 3
    PURGED = 4


class Referent(IntEnum):
    """What an owner says of an entity: the values of `teppan.common.v1.ReferentState`."""

    NOT_FOUND = 1
    OPEN = 2
    CLOSED = 3
    PURGED = 4
