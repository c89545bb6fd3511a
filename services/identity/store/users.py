"""Users, with the role that crosses stations. Emails are sealed; equality goes by their blind index."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update

from dbcommon.constraints import refusing
from dbcommon.database import Transaction
from dbcommon.private import Keyring
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
        await tx.execute(insert(users).values(row))


async def get_user(tx: Transaction, keyring: Keyring, user_id: UUID, *, lock: bool = False) -> User:
    """Raises UserNotFound."""
    statement = select(users).where(users.c.id == user_id)
    row = (await tx.execute(statement.with_for_update(key_share=True) if lock else statement)).mappings().first()
    if row is None:
        raise UserNotFound("there is no such user", user_id=user_id)
    return _user(row, email=keyring.open(row["email"], place=_place(user_id)))


async def save_state(tx: Transaction, user: User) -> None:
    """Writes what a transition changes; the row is locked."""
    changed = {"state": user.state.value, "version": user.version, "update_time": user.update_time}
    await tx.execute(update(users).where(users.c.id == user.user_id).values(changed))


async def erase(tx: Transaction, keyring: Keyring, user: User) -> None:
    """Overwrites all that is private of a locked user. The index is their ID, which is the index of no email."""
    empty = {
        "name": user.name,
        "email": keyring.seal(user.email, place=_place(user.user_id)),
        "email_index": user.user_id.bytes,
        "password_hash": "",
        "platform_role": user.platform_role.value,
        "failed_logins": 0,
        "locked_until": None,
    }
    await tx.execute(update(users).where(users.c.id == user.user_id).values(empty))
    await save_state(tx, user)


async def users_of(tx: Transaction, ids: Collection[UUID]) -> dict[UUID, User]:
    """Those of the users that there are, without emails: what other services are told of."""
    rows = await tx.execute(select(users).where(users.c.id.in_(ids)))
    return {row["id"]: _user(row, email="") for row in rows.mappings()}


async def users_after(tx: Transaction, user_id: UUID | None, limit: int) -> list[User]:
    """Users by ID, after an ID, without emails."""
    statement = select(users).order_by(users.c.id).limit(limit)
    if user_id is not None:
        statement = statement.where(users.c.id > user_id)
    return [_user(row, email="") for row in (await tx.execute(statement)).mappings()]


async def lock_first_administrator(tx: Transaction) -> None:
    """Only one transaction at a time looks for an administrator, and makes one."""
    await tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("identity: the first administrator", 0))))


async def any_administrator(tx: Transaction) -> UUID | None:
    """The oldest active administrator of the platform."""
    where = (users.c.platform_role == PlatformRole.ADMIN.value, users.c.state == State.ACTIVE.value)
    found: UUID | None = (await tx.execute(select(users.c.id).where(*where).order_by(users.c.id).limit(1))).scalar()
    return found


def email_index(keyring: Keyring, email: str) -> bytes:
    """The blind index of a normalised email."""
    return keyring.index(email, column="users.email")


def _place(user_id: UUID) -> str:
    return f"users.email:{user_id}"


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
