"""COPY through the pool: by the reader in C where the connection lets it, and without harm to others."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import trustme
from sqlalchemy.engine import make_url

from dbcommon.copying import AT_ONCE, END_SECONDS
from dbcommon.database import Database
from faults import DatabaseUnavailable
from local.database import Server
from rowwire import Copied, CopyReader, Gathered, Loaded
from tests.deployed import eventually
from tests.encoders import copy_reader

ROWS = "SELECT n, repeat('x', 200) AS text FROM generate_series(1, 3000) n WHERE s.tenant IS NOT NULL LIMIT 3000"
FAILING = (
    "SELECT 1 / (n - 2000) AS one, repeat('x', 200) AS text FROM generate_series(1, 3000) n WHERE s.tenant IS NOT NULL LIMIT 3000"
)
SLOW = "SELECT n, pg_sleep(CASE n WHEN 2 THEN 600 ELSE 0 END)::text AS text FROM generate_series(1, 2) n WHERE s.tenant IS NOT NULL LIMIT 2"
ACTIVE = "FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY%'"
SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"


@dataclass
class Counting:
    """A reader of COPY that counts what it reads."""

    reader: CopyReader
    times: int = 0

    def read(self, socket: int, query: str) -> Gathered:
        self.times += 1
        return self.reader.read(socket, query)

    def copied(self, gathered: Gathered) -> Copied:
        return self.reader.copied(gathered)


@pytest.fixture
def counting(compiled_library: Loaded) -> Any:
    """Counts; it stands for a CopyReader."""
    return Counting(copy_reader(compiled_library))


@pytest.fixture
async def app(server: Server, database: str, counting: Any) -> AsyncIterator[Database]:
    made = Database(server.url(database, "bookings_app"), reader=counting)
    yield made
    await made.close()


@asynccontextmanager
async def before(folder: str, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """Listens on a port of its own before the server of a folder, with TLS or without; gives the port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if context is not None:
            assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST
            writer.write(b"S")
            await writer.start_tls(context)
        onward_reader, onward = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.5432")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_pass_on(reader, onward))
            tasks.create_task(_pass_on(onward_reader, writer))

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.mark.parametrize(("tls", "by_c"), [(False, 1), (True, 0)])
async def test_what_comes_by_tcp_is_read_in_c_and_what_is_encrypted_by_asyncpg(
    server: Server, database: str, app: Database, counting: Counting, *, tls: bool, by_c: int
) -> None:
    tenant = uuid4()
    right = (await app.copy(ROWS, tenant=tenant)).data
    counting.times = 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    url = make_url(server.url(database, "bookings_app"))
    async with before(str(url.query["host"]), context if tls else None) as port:
        there = url.set(host="127.0.0.1", port=port, query={"sslmode": "require" if tls else "disable"})
        remote = Database(there.render_as_string(hide_password=False), reader=counting)  # type: ignore[arg-type]  # it stands for one
        assert (await remote.copy(ROWS, tenant=tenant)).data == right
        assert await remote.read("SELECT 1 AS one, s.tenant LIMIT 1", tenant=tenant)
        await remote.close()
    assert counting.times == by_c


async def test_an_error_among_the_rows_is_told_and_its_connection_not_used_again(app: Database) -> None:
    tenant = uuid4()
    with pytest.raises(asyncpg.DivisionByZeroError):
        await app.copy(FAILING, tenant=tenant)
    assert (await app.copy(ROWS, tenant=tenant)).rows == 3_000


async def test_a_session_that_is_ended_meanwhile_is_unavailable(app: Database, outside: asyncpg.Connection) -> None:
    copying = asyncio.create_task(app.copy(SLOW, tenant=uuid4()))
    await eventually(lambda: _active(outside, 1))
    await outside.execute(f"SELECT pg_terminate_backend(pid) {ACTIVE}")
    with pytest.raises(DatabaseUnavailable):
        await copying
    assert (await app.copy(ROWS, tenant=uuid4())).rows == 3_000


async def test_who_is_cancelled_leaves_no_query(app: Database, outside: asyncpg.Connection) -> None:
    copying = asyncio.create_task(app.copy(SLOW, tenant=uuid4()))
    await eventually(lambda: _active(outside, 1))
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    await eventually(lambda: _active(outside, 0))
    assert (await app.copy(ROWS, tenant=uuid4())).rows == 3_000


async def test_who_is_cancelled_twice_leaves_no_connection_on_which_an_answer_is_to_come(
    app: Database, outside: asyncpg.Connection
) -> None:
    """A deadline here and its caller's own, a moment later."""
    for _ in range(AT_ONCE + 1):
        copying = asyncio.create_task(app.copy(SLOW, tenant=uuid4()))
        await eventually(lambda: _active(outside, 1))
        copying.cancel()
        await asyncio.sleep(END_SECONDS / 5)
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
        assert not app._of
        assert not app._pool._settling
        assert not app._pool._idle
        await eventually(lambda: _active(outside, 0))
    assert (await app.copy(ROWS, tenant=uuid4())).rows == 3_000


async def test_copies_leave_connections_to_others(app: Database, outside: asyncpg.Connection) -> None:
    tenant = uuid4()
    copies = [asyncio.create_task(app.copy(SLOW, tenant=tenant)) for _ in range(20)]
    await eventually(lambda: _active(outside, AT_ONCE))
    assert await app.read("SELECT 1 AS one, s.tenant LIMIT 1", tenant=tenant)
    assert await _active(outside, AT_ONCE)
    for copy in copies:
        copy.cancel()
    await asyncio.wait(copies)
    await eventually(lambda: _active(outside, 0))


async def _active(outside: asyncpg.Connection, count: int) -> bool:
    return bool(await outside.fetchval(f"SELECT count(*) = $1 {ACTIVE}", count))
