"""`python -m identity bootstrap`: the first platform administrator, without whom nobody could make anybody."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import UUID

from faults import Fault
from identity.config import Config
from identity.domain.users import NewUser
from identity.usecases.users import Users
from identity.wire.users import administrator_of

REFUSED = 2


def add_bootstrap(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    read: Callable[[Mapping[str, str]], Config],
    users: Callable[[Config], Users],
) -> None:
    """Adds the command; `users` builds the use cases it needs."""
    parser = commands.add_parser("bootstrap", help="make the first platform administrator, unless there is one")
    parser.add_argument("--email", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--password-file", required=True, type=Path, help="a file that holds nothing but the password")
    parser.set_defaults(run=lambda chosen, environ: _bootstrap(chosen, users(read(environ))))


def _bootstrap(chosen: argparse.Namespace, users: Users) -> int:
    try:
        password = chosen.password_file.read_text().rstrip("\n")
        wanted = administrator_of(name=chosen.name, email=chosen.email, password=password)
        user_id, made = asyncio.run(_make(users, wanted))
    except (OSError, UnicodeDecodeError) as error:
        return _refuse(f"{chosen.password_file} cannot be read: {error}")
    except Fault as fault:
        return _refuse(fault.message)
    print(user_id if made else f"there is a platform administrator already: {user_id}")  # noqa: T201  # the answer of the command
    return 0


async def _make(users: Users, wanted: NewUser) -> tuple[UUID, bool]:
    try:
        return await users.bootstrap(wanted)
    finally:
        await users.platform.close()


def _refuse(sentence: str) -> int:
    print(f"identity bootstrap: {sentence}", file=sys.stderr)  # noqa: T201  # for the operator
    return REFUSED
