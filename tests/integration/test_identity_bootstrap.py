"""`python -m identity bootstrap`, as operators run it."""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from argon2.profiles import CHEAPEST
from teppan.common.v1 import options_pb2
from teppan.identity.v1 import stations_pb2, tokens_pb2

from identity.__main__ import parts_of, users_of
from identity.config import read
from identity.passwords import Argon2Passwords
from identity.wire.users import administrator_of
from local.database import ROOT, SERVICES, Server
from local.secret import make
from local.stack import environment
from tests.integration.stage import Teppan

PASSWORD = "correct horse battery"  # noqa: S105  # of nobody outside of this test


@pytest.fixture
def environ(server: Server, database: str, tmp_path: Path) -> dict[str, str]:
    """Identity's, on a database without a user."""
    make(tmp_path / "secrets", SERVICES)
    urls = server.roles("identity", database)
    return environment("identity", ports=dict.fromkeys(SERVICES, 0), metrics=0, urls=urls, secrets=tmp_path / "secrets")


async def bootstrap(
    environ: Mapping[str, str], folder: Path, *, email: str = "root@example.com", password: str = PASSWORD
) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    file = folder / "password"
    file.write_text(password + "\n")
    paths = os.pathsep.join(str(ROOT / root) for root in ("services", "libs", "protos/python"))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "identity", "bootstrap", "--email", email, "--name", "Root", "--password-file", str(file),
        env={**environ, "PYTHONPATH": paths}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await child.communicate()
    return child.returncode or 0, out.decode().strip(), err.decode().strip()


async def rows(server: Server, database: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(server.url(database, "identity_platform"))
    try:
        return list(await connection.fetch("SELECT * FROM identity.users"))
    finally:
        await connection.close()


async def test_the_first_administrator_is_made_once(server: Server, database: str, environ: dict[str, str], tmp_path: Path) -> None:
    code, first, _ = await bootstrap(environ, tmp_path)
    assert code == 0
    code, again, _ = await bootstrap(environ, tmp_path, email="other@example.com")
    assert (code, again) == (0, f"there is a platform administrator already: {first}")
    [user] = await rows(server, database)
    assert (str(user["id"]), user["platform_role"]) == (first, options_pb2.PLATFORM_ROLE_ADMIN)


@pytest.mark.long
async def test_another_administrator_is_made_where_the_only_one_is_disabled(
    server: Server, database: str, environ: dict[str, str], tmp_path: Path
) -> None:
    _, first, _ = await bootstrap(environ, tmp_path)
    connection = await asyncpg.connect(server.url(database, "identity_platform"))
    await connection.execute("UPDATE identity.users SET state = 2")
    await connection.close()
    code, second, _ = await bootstrap(environ, tmp_path, email="other@example.com")
    assert (code, {str(row["id"]) for row in await rows(server, database)}) == (0, {first, second})


async def test_of_four_at_once_one_makes_one(server: Server, database: str, environ: dict[str, str]) -> None:
    config = read(environ)
    parts = parts_of(config)
    users = replace(users_of(config, parts), passwords=Argon2Passwords(CHEAPEST))
    wanted = [administrator_of(name="Root", email=f"root{n}@example.com", password=PASSWORD) for n in range(4)]
    try:
        answers = await asyncio.gather(*(users.bootstrap(each) for each in wanted))
    finally:
        await parts.platform.close()
    [row] = await rows(server, database)
    assert {user_id for user_id, _ in answers} == {row["id"]}
    assert [made for _, made in answers].count(True) == 1


async def test_a_weak_password_is_refused_with_a_sentence(
    server: Server, database: str, environ: dict[str, str], tmp_path: Path
) -> None:
    code, out, err = await bootstrap(environ, tmp_path, email="nobody", password="short")  # noqa: S106
    assert (code, out) == (2, "")
    assert err.startswith("identity bootstrap: ")
    assert "password: " in err
    assert "email: " in err
    assert "12 characters" in err
    assert "Traceback" not in err
    assert not await rows(server, database)


async def test_what_is_missing_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    code, _, err = await bootstrap({**environ, "TEPPAN_KEYRING_FILE": ""}, tmp_path)
    assert code == 2
    assert "TEPPAN_KEYRING_FILE is not set" in err


async def test_the_first_administrator_logs_in_and_makes_stations(own: Teppan, tmp_path: Path) -> None:
    code, user_id, _ = await bootstrap(own.environ("identity"), tmp_path)
    assert code == 0
    issued = await own.tokens.Login(tokens_pb2.LoginRequest(email="root@example.com", password=PASSWORD))
    assert issued.user_id == user_id
    request = stations_pb2.CreateStationRequest(request_id=user_id, code="ROOT", name="Root", time_zone="UTC", currency_code="EUR")
    await own.stations.CreateStation(request, metadata=(("authorization", f"Bearer {issued.access_token}"),))
