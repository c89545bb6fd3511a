"""Users, with the role that crosses stations. Emails are sealed; equality goes by their blind index."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from dbcommon.constraints import refusing
from dbcommon.database import Database, Transaction
from dbcommon.private import Keyring
from dbcommon.statements import inserting, updating
from identity.domain.users import EmailTaken, PlatformRole, State, User, UserNotFound
from identity.tables import users


async def insert_user(tx: Transaction, keyring: Keyring, user: User, *, password_hash: str) -> None:
    """Raises EmailTaken."""
    row = {
        **{name: getattr(user, name) for name in _SAME},
        "id": user.user_id,
        "email": keyring.seal(user.email, place=_place(user.user_id)),
        "email_index": email_index(keyring, user.email),
        "password_hash": password_hash,
        "platform_role": user.platform_role.value,
        "state": user.state.value,
    }
    with refusing({"users_email_index_key": EmailTaken("another user has that email")}):
        await tx.execute(inserting(users, row), row)


async def get_user(db: Database | Transaction, keyring: Keyring, user_id: UUID, *, lock: bool = False) -> User:
    """Raises UserNotFound. Locking is for a transaction."""
    statement = f"SELECT {COLUMNS} FROM identity.users WHERE id = :id"
    row = (await db.look(f"{statement} FOR NO KEY UPDATE" if lock else statement, {"id": user_id})).first()
    if row is None:
        raise UserNotFound("there is no such user", user_id=user_id)
    return _user(row, email=keyring.open(row["email"], place=_place(user_id)))


async def save_state(tx: Transaction, user: User) -> None:
    """Writes what a transition changes; the row is locked."""
    changed = {"state": user.state.value, "version": user.version, "update_time": user.update_time}
    await tx.execute(f"{updating(users, changed)} WHERE id = :id", {**changed, "id": user.user_id})


async def erase(tx: Transaction, keyring: Keyring, user: User) -> None:
    """Overwrites all that is private of a locked user. The index is their ID, which is the index of no email."""
    empty = {
        "name": user.name,
        "email": keyring.seal(user.email, place=_place(user.user_id)),
        "email_index": user.user_id.bytes,
        "password_hash": "",
        "platform_role": user.platform_role.value,
    }
    await tx.execute(f"{updating(users, empty)} WHERE id = :id", {**empty, "id": user.user_id})
    await save_state(tx, user)


async def users_of(tx: Transaction, ids: Collection[UUID]) -> dict[UUID, User]:
    """Those of the users that there are, without emails: what other services are told of."""
    rows = await tx.execute(f"SELECT {COLUMNS} FROM identity.users WHERE id = ANY(:ids)", {"ids": list(ids)})
    return {row["id"]: _user(row, email="") for row in rows}


async def users_after(tx: Transaction, user_id: UUID | None, limit: int) -> list[User]:
    """Users by ID, after an ID, without emails."""
    statement = f"SELECT {COLUMNS} FROM identity.users WHERE id > :after ORDER BY id LIMIT :limit"
    rows = await tx.execute(statement, {"after": user_id or UUID(int=0), "limit": limit})
    return [_user(row, email="") for row in rows]


async def lock_first_administrator(tx: Transaction) -> None:
    """Only one transaction at a time looks for an administrator, and makes one."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('identity: the first administrator', 0))")


async def any_administrator(tx: Transaction) -> UUID | None:
    """The oldest active administrator of the platform."""
    oldest = "SELECT id FROM identity.users WHERE platform_role = :role AND state = :state ORDER BY id LIMIT 1"
    found = await tx.execute(oldest, {"role": PlatformRole.ADMIN.value, "state": State.ACTIVE.value})
    id: UUID | None = found.value_or_none()
    return id


def email_index(keyring: Keyring, email: str) -> bytes:
    """The blind index of a normalised email."""
    return keyring.index(email, column="users.email")


def _place(user_id: UUID) -> str:
    return f"users.email:{user_id}"


COLUMNS = "id, name, email, platform_role, state, version, create_time, update_time"
_SAME = ("name", "version", "create_time", "update_time")
"""Columns and fields of one name and one type."""


def _user(row: Any, *, email: str) -> User:
    return User(
        **{name: row[name] for name in _SAME},
        user_id=row["id"],
        email=email,
        platform_role=PlatformRole(row["platform_role"]),
        state=State(row["state"]),
    )
