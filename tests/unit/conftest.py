"""Fixtures: a server on loopback whose BookingsService does what a test wants, and what is logged meanwhile."""

import io
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.unit.rpc_bookings import Bookings, logged
from tests.unit.rpc_stage import Stage, stage


@pytest.fixture
def bookings() -> Bookings:
    """The servicer."""
    return Bookings()  # type: ignore[abstract]  # what else the service has is not called


@pytest.fixture
async def on(bookings: Bookings) -> AsyncIterator[Stage]:
    """The server."""
    async with stage(bookings) as running:
        yield running


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Lines of JSON."""
    with logged() as stream:
        yield stream
