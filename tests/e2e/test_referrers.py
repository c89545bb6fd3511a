"""`make referrers` and `make referrers-leave` on the embedded stack."""

import asyncio

import asyncpg
import pytest

from local.stack import Stack
from tests.deployed import IN_CONTAINERS
from tests.e2e.test_parked import make

pytestmark = pytest.mark.skipif(IN_CONTAINERS, reason="of the embedded stack")
LEAVE = ("referrers-leave", "--service", "identity", "--referrer", "bookings", "--column")


@pytest.fixture
def vouchers(embedded: Stack) -> None:
    """A column that a release has removed: registered, and not in the contract."""

    async def register() -> None:
        connection = await asyncpg.connect(embedded.server.url(embedded.database))
        await connection.execute("INSERT INTO identity.referrers VALUES ('bookings', 'identity.Station', 'vouchers.station_id', 2)")
        await connection.close()

    asyncio.run(register())


@pytest.mark.usefixtures("vouchers")
def test_the_table_says_who_is_asked_and_who_has_left_is_not(embedded: Stack) -> None:
    shown = make(embedded, "referrers")
    assert shown.returncode == 0, shown.stderr
    for told in ("bookings.slots.station_id", "payments.payments.booking_id", "CASCADE", "the contract", "vouchers.station_id"):
        assert told in shown.stdout
    left = make(embedded, *LEAVE, "vouchers.station_id")
    assert (left.returncode, "`make audit`" in left.stdout) == (0, True), left.stderr
    assert "vouchers" not in make(embedded, "referrers", "--service", "identity").stdout


@pytest.mark.parametrize(
    ("column", "why"), [("vouchers.id", "bookings has registered no such column"), ("slots.station_id", "the contract names it")]
)
def test_who_may_not_leave_is_told_why(embedded: Stack, column: str, why: str) -> None:
    refused = make(embedded, *LEAVE, column)
    assert (refused.returncode, why in refused.stderr) == (2, True)


def test_who_forgets_to_say_whom_is_told_how(embedded: Stack) -> None:
    done = make(embedded, "referrers-leave", "--service", "identity")
    assert (done.returncode, "make referrers-leave S=identity REFERRER=" in done.stderr) == (2, True)
