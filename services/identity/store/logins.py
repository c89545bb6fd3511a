"""What a login reads and writes of a user. Whether it counts, one UPDATE decides: logins at once queue for the user's row."""

from datetime import datetime
from uuid import UUID

from dbcommon.database import Database, Transaction
from dbcommon.private import Keyring
from identity.domain.logins import FAILURES_MAX, LOCKED, Account
from identity.domain.users import PlatformRole, State
from identity.store.users import email_index


async def account(platform: Database, keyring: Keyring, email: str) -> Account | None:
    """The account of a normalised email."""
    statement = "SELECT id, name, platform_role, state, password_hash, locked_until FROM identity.users WHERE email_index = :index"
    row = (await platform.look(statement, {"index": email_index(keyring, email)})).first()
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
    last = f"failed_logins + 1 >= {FAILURES_MAX}"
    # Not waiting for the disk makes a failure that is counted take as long as one of an unknown email.
    statement = (
        f"UPDATE identity.users SET failed_logins = CASE WHEN {last} THEN 0 ELSE failed_logins + 1 END,"
        f" locked_until = CASE WHEN {last} THEN CAST(:until AS timestamptz) END"
        f" WHERE email_index = :index AND {MAY_TRY} RETURNING set_config('synchronous_commit', 'off', true)"
    )
    await tx.execute(statement, {"until": now + LOCKED, "index": email_index(keyring, email), "now": now})


async def count_success(tx: Transaction, user_id: UUID, *, new_hash: str | None, now: datetime) -> bool:
    """Forgets the failures; False where they have locked the account while the password was being verified."""
    statement = (
        "UPDATE identity.users SET failed_logins = 0, locked_until = NULL, password_hash = coalesce(:hash, password_hash)"
        f" WHERE id = :id AND {MAY_TRY} RETURNING id"
    )
    return bool(await tx.execute(statement, {"hash": new_hash, "id": user_id, "now": now}))


MAY_TRY = f"state = {State.ACTIVE:d} AND (locked_until IS NULL OR locked_until <= :now)"
"""`domain.logins.may_try`, where it cannot change any more."""
