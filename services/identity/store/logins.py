"""What a login reads and writes of a user. Whether it counts, one UPDATE decides: logins at once queue for the user's row."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, null, or_, select, update

from dbcommon.database import Transaction
from dbcommon.private import Keyring
from identity.domain.logins import FAILURES_MAX, LOCKED, Account
from identity.domain.users import PlatformRole, State
from identity.store.users import email_index
from identity.tables import users


async def account(tx: Transaction, keyring: Keyring, email: str) -> Account | None:
    """The account of a normalised email."""
    row = (await tx.execute(select(users).where(users.c.email_index == email_index(keyring, email)))).first()
    if row is None:
        return None
    return Account(
        user_id=row.id,
        name=row.name,
        platform_role=PlatformRole(row.platform_role),
        state=State(row.state),
        password_hash=row.password_hash,
        locked_until=row.locked_until,
    )


async def count_failure(tx: Transaction, keyring: Keyring, email: str, *, now: datetime) -> None:
    """Counts against the account of that email, if there is one that may be tried; the last failure locks it."""
    last = users.c.failed_logins + 1 >= FAILURES_MAX
    # Not waiting for the disk makes a failure that is counted take as long as one of an unknown email.
    quick = func.set_config("synchronous_commit", "off", True)
    await tx.execute(
        update(users)
        .where(users.c.email_index == email_index(keyring, email), *_may_try(now))
        .values(
            failed_logins=case((last, 0), else_=users.c.failed_logins + 1),
            locked_until=case((last, now + LOCKED), else_=null()),
        )
        .returning(quick)
    )


async def count_success(tx: Transaction, user_id: UUID, *, new_hash: str | None, now: datetime) -> bool:
    """Forgets the failures; False where they have locked the account while the password was being verified."""
    changed = {"failed_logins": 0, "locked_until": None, **({"password_hash": new_hash} if new_hash else {})}
    statement = update(users).where(users.c.id == user_id, *_may_try(now)).values(changed).returning(users.c.id)
    return (await tx.execute(statement)).first() is not None


def _may_try(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """`domain.logins.may_try`, where it cannot change any more."""
    return users.c.state == State.ACTIVE.value, or_(users.c.locked_until.is_(None), users.c.locked_until <= now)
