"""Which cursors are of a feed: to the position."""

from uuid import UUID

import pytest

from dbcommon.feed.places import Extent
from faults import CursorDiverged, CursorExpired

FIRST, EMPTY, PRESENT, OTHER = (UUID(int=n) for n in range(1, 5))
FEED = Extent(epochs=[(FIRST, 1), (EMPTY, 51), (PRESENT, 51)], position=90, dropped_through=20)
"""Positions 1 to 50 are of the first epoch; the database was restarted twice before 51 was published; 1 to 20 were dropped."""


@pytest.mark.parametrize("place", [(FIRST, 20), (FIRST, 49), (FIRST, 50), (EMPTY, 50), (PRESENT, 50), (PRESENT, 90)])
def test_a_place_inside_its_epoch_is_followed_without_a_gap(place: tuple[UUID, int]) -> None:
    FEED.check(place)


@pytest.mark.parametrize(
    ("place", "last"),
    [
        ((FIRST, 51), 50),  # it was published in a past of which no more is left than up to 50
        ((FIRST, 91), 50),
        ((EMPTY, 51), 50),
        ((PRESENT, 91), 90),  # from the future
        ((PRESENT, 49), 0),  # before its epoch began
        ((EMPTY, 49), 0),
        ((OTHER, 50), 0),
    ],
)
def test_a_place_outside_of_its_epoch_has_diverged_and_is_told_the_last_common_position(place: tuple[UUID, int], last: int) -> None:
    with pytest.raises(CursorDiverged) as refused:
        FEED.check(place)
    assert refused.value.metadata == {"last_common_position": str(last)}


@pytest.mark.parametrize("position", [0, 19])
def test_a_place_before_what_is_kept_has_expired(position: int) -> None:
    with pytest.raises(CursorExpired) as refused:
        FEED.check((FIRST, position))
    assert refused.value.metadata == {"dropped_through": "20"}


def test_a_position_is_of_the_newest_epoch_that_begins_there_or_before() -> None:
    assert [FEED.at(position) for position in (0, 49, 50, 90)] == [(FIRST, 0), (FIRST, 49), (PRESENT, 50), (PRESENT, 90)]
