"""What a login reads and writes. Whether it counts, one statement decides: logins at once queue for the row of their failures."""

from datetime import datetime
from uuid import UUID

from dbcommon.database import Database, Transaction
from dbcommon.private import Keyring
from identity.domain.logins import FAILURES_MAX, LOCKED, Account, Attempt
from identity.domain.users import PlatformRole, State
from identity.store.users import email_index


async def attempt(platform: Database, keyring: Keyring, email: str, address: str, *, now: datetime) -> Attempt:
    """What is known of a normalised email, and of its failures of late, from an address and from all of them."""
    row = (await platform.look(KNOWN, _key(keyring, email, address, now))).one()
    account = row.id and Account(
        user_id=row.id,
        name=row.name,
        platform_role=PlatformRole(row.platform_role),
        state=State(row.state),
        password_hash=row.password_hash,
    )
    return Attempt(account=account, locked=row.locked, failures=row.failures)


async def count_failure(tx: Transaction, keyring: Keyring, email: str, address: str, *, now: datetime) -> None:
    """Counts it, whether anybody has that email or not; the last failure locks the address out, and those after it do not count."""
    await tx.execute(FAILED, _key(keyring, email, address, now))


async def count_success(
    tx: Transaction, keyring: Keyring, user_id: UUID, email: str, address: str, *, new_hash: str | None, now: datetime
) -> bool:
    """Forgets the failures; False where they have locked the address while the password was being verified."""
    values = {**_key(keyring, email, address, now), "hash": new_hash, "id": user_id}
    return bool(await tx.execute(SUCCEEDED, values))


async def forget(tx: Transaction, now: datetime) -> None:
    """Removes failures of long ago, with the addresses that they name."""
    await tx.execute("DELETE FROM identity.login_failures WHERE last_time <= :before", {"before": now - LOCKED})


def _key(keyring: Keyring, email: str, address: str, now: datetime) -> dict[str, object]:
    return {"index": email_index(keyring, email), "address": address, "now": now, "before": now - LOCKED}


IS_LOCKED = f"f.failures >= {FAILURES_MAX} AND f.last_time > :before"
MINE = "f.email_index = :index AND f.address = :address"
KNOWN = (
    "SELECT u.id, u.name, u.platform_role, u.state, u.password_hash,"
    f" EXISTS (SELECT FROM identity.login_failures f WHERE {MINE} AND {IS_LOCKED}) AS locked,"
    " (SELECT coalesce(sum(f.failures), 0)::int FROM identity.login_failures f"
    " WHERE f.email_index = :index AND f.last_time > :before) AS failures"
    " FROM (SELECT) one LEFT JOIN identity.users u ON u.email_index = :index"
)
FAILED = (
    "INSERT INTO identity.login_failures AS f (email_index, address, failures, last_time) VALUES (:index, :address, 1, :now)"
    " ON CONFLICT (email_index, address) DO UPDATE SET last_time = excluded.last_time,"
    f" failures = CASE WHEN f.last_time > :before THEN f.failures + 1 ELSE 1 END WHERE NOT ({IS_LOCKED})"
)
SUCCEEDED = (
    f"WITH mine AS (SELECT {IS_LOCKED} AS locked FROM identity.login_failures f WHERE {MINE} FOR UPDATE),"
    f" forgotten AS (DELETE FROM identity.login_failures f WHERE {MINE} AND NOT EXISTS (SELECT FROM mine WHERE locked))"
    " UPDATE identity.users SET password_hash = coalesce(:hash, password_hash)"
    f" WHERE id = :id AND state = {State.ACTIVE:d} AND NOT EXISTS (SELECT FROM mine WHERE locked) RETURNING id"
)
