"""Whose fault it is that an event could not be applied, and what is said of it."""

import contextlib
import re

import asyncpg
import pytest

from dbcommon.attempts import UNFIT, failure_of
from faults import (
    DatabaseUnavailable,
    DeadlineExceeded,
    FeedStale,
    LockTimeout,
    NotFound,
    Overloaded,
    PeerUnavailable,
    ReferenceClosed,
    ServerStopping,
)

SECRET = "bo@example.com"  # noqa: S105  # somebody's address


def refused(sqlstate: str) -> Exception:
    """What the driver raises."""
    error: Exception = asyncpg.PostgresError(SECRET)
    error.sqlstate = sqlstate  # type: ignore[attr-defined]  # a PostgresError has it
    return error


@pytest.mark.parametrize(
    "error",
    [
        DatabaseUnavailable("away"), DeadlineExceeded("slow"), FeedStale("old"), LockTimeout("kept"), Overloaded("full"),
        PeerUnavailable("away"), ServerStopping("bye"), MemoryError(), TimeoutError(), ConnectionResetError(),
        asyncpg.InternalClientError(), asyncpg.InvalidCachedStatementError(),
        *map(refused, ("08006", "40001", "40P01", "53100", "55P03", "57014", "57P01", *UNFIT)),
    ],
    ids=repr,
)  # fmt: skip
def test_what_comes_from_outside_is_not_the_events_own(error: Exception) -> None:
    assert failure_of(error) is None


@pytest.mark.parametrize("sqlstate", ["22003", "22021", "23502", "23505", "23514", "25P02", "42804", "P0001"])
def test_what_the_database_refuses_of_it_is_its_own_and_told_by_its_code(sqlstate: str) -> None:
    failure = failure_of(refused(sqlstate))
    assert failure
    assert failure.sentence == f"the database refuses it: SQLSTATE {sqlstate}"


@pytest.mark.parametrize("kind", [NotFound, ReferenceClosed])
def test_a_rule_that_refuses_says_its_sentence(kind: type[NotFound | ReferenceClosed]) -> None:
    failure = failure_of(kind("the station is closed"))
    assert failure
    assert (failure.name, failure.sentence) == (kind.__name__, "the station is closed")


@pytest.mark.parametrize("error", [ValueError(SECRET), KeyError(SECRET), AssertionError(SECRET), RecursionError(SECRET)], ids=repr)
def test_of_anything_else_only_the_place_is_told(error: Exception) -> None:
    failure = failure_of(raised(error))
    assert failure
    assert failure.name == type(error).__name__
    assert re.fullmatch(r"raised at tests\.unit\.test_attempts:\d+|raised at (\S+ > )*test_attempts:\d+", failure.sentence)


def raised(error: Exception) -> Exception:
    """The same, from a place in the code."""
    with contextlib.suppress(type(error)):
        raise error
    return error
