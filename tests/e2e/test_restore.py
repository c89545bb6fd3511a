"""`make backup` and `make restore`, on a stack that runs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from local import stack
from local.stack import Stack
from tests.deployed import IN_CONTAINERS
from tests.e2e.test_parked import make

pytestmark = pytest.mark.skipif(IN_CONTAINERS, reason="of the embedded stack")
NEWS = "INSERT INTO payments.left_epochs (owner, epoch) VALUES ('nobody', $1)"
TOLD = "SELECT count(*) FROM payments.left_epochs WHERE owner = 'nobody'"


@pytest.fixture
async def rows(embedded: Stack) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(embedded.server.url(embedded.database))
    yield connection
    await connection.close()


@pytest.mark.parametrize("chosen", [["--data-only"], pytest.param([], marks=pytest.mark.long)], ids=["data", "schema"])
async def test_a_service_is_stopped_brought_back_to_its_backup_and_serves_again(
    embedded: Stack, rows: asyncpg.Connection, tmp_path: Path, chosen: list[str]
) -> None:
    file = str(tmp_path / "payments.dump")
    done = await asyncio.to_thread(make, embedded, "backup", "payments", "--to", file)
    assert (done.returncode, done.stderr) == (0, "")
    await rows.execute(NEWS, uuid4())
    before = embedded.supervisor.status_of("payments").pid

    refused = await asyncio.to_thread(make, embedded, "restore", "payments", "--from", file, *chosen)
    assert refused.returncode == 2
    assert "say CONFIRM=yes" in refused.stderr
    assert (await rows.fetchval(TOLD), embedded.supervisor.status_of("payments").pid) == (1, before)

    cut = cut_short(tmp_path / "payments.dump")
    refused = await asyncio.to_thread(make, embedded, "restore", "payments", "--from", cut, *chosen, "--confirmed")
    assert (refused.returncode, "Nothing was changed" in refused.stderr) == (2, True)
    assert (await rows.fetchval(TOLD), embedded.supervisor.status_of("payments").pid) == (1, before)

    done = await asyncio.to_thread(make, embedded, "restore", "payments", "--from", file, *chosen, "--confirmed")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("payments is stopped meanwhile.\npayments serves what")
    assert await rows.fetchval(TOLD) == 0
    assert embedded.supervisor.status_of("payments").pid not in {0, before}
    assert await stack.health(embedded.address("payments")) == "SERVING"


def cut_short(file: Path) -> str:
    """A copy that lacks its end."""
    cut = file.with_name("cut.dump")
    cut.write_bytes(file.read_bytes()[:-1_000])
    return str(cut)
