"""Whose rows a transaction sees: row-level security by one setting, and the check that it holds.

Policies as they were measured: the sub-SELECT keeps the planner from reading the setting (its one-row guess would stay
cached), the NULLIF is for connections on which an earlier transaction left the setting empty. Unset means no rows.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:  # the database asks this module how to read for one tenant
    from dbcommon.database import Transaction

SETTING = "teppan.station_id"
TENANT = f"(SELECT NULLIF(current_setting('{SETTING}', true), '')::uuid)"
TIMEOUT_MIN_MS = 10_000
"""No call takes as long as that, but some take seconds."""
PARAMETER = re.compile(r"\$(\d+)")
NO_TENANT = UUID(int=0)
"""Stands for the tenant in rows that belong to none: users, their events, requests of the platform."""


class Unsafe(Exception):
    """The service's role could see or change what it must not; the sentence says what to do."""


def policies(service: str, table: str, *, column: str = "station_id", platform: bool) -> list[str]:
    """The DDL that isolates a tenant table: rows of the tenant for the application's role, all rows for the owner's.

    `platform` gives the role that crosses tenants a policy too; its grants say what it may do.
    """
    name = f"{service}.{table}"
    made = [
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant ON {name} TO {service}_app USING ({column} = {TENANT}) WITH CHECK ({column} = {TENANT})",
        f"CREATE POLICY owner_all ON {name} TO {service}_owner USING (true) WITH CHECK (true)",
    ]
    if platform:
        made.append(f"CREATE POLICY platform_all ON {name} TO {service}_platform USING (true) WITH CHECK (true)")
    return made


@lru_cache(maxsize=1024)
def one_statement(body: str, *, selected: str = "b.*") -> str:
    """A read of one tenant in one autocommit statement; `$1` is the tenant, the body's own parameters begin at `$2`.

    The body is a SELECT on tenant tables that compares their tenant with `s.tenant` and ends in a literal LIMIT. Only
    this form holds: the LIMIT keeps the body from being pulled up, and the comparison makes it run after the setting.
    """
    _, limit, rows = body.rpartition("LIMIT")
    if not limit or not rows.strip().isdigit() or "s.tenant" not in body:
        raise ValueError("the body compares its tenant with s.tenant, and ends in a literal LIMIT")
    setting = f"SELECT set_config('{SETTING}', $1::uuid::text, true)::uuid AS tenant OFFSET 0"
    return f"SELECT {selected} FROM ({setting}) s, LATERAL ({body}) b"


def as_records(body: str) -> str:
    """The same, whose rows come as the bytes of one value, in their order: what `record_send` makes of each."""
    return one_statement(body, selected="string_agg(record_send(b), '')")


def with_literals(statement: str, values: Sequence[UUID | datetime | int]) -> str:
    """A statement with its parameters written into it, for COPY, which takes none: IDs, times and numbers only."""
    literals = [_literal(value) for value in values]
    return PARAMETER.sub(lambda found: literals[int(found[1]) - 1], statement)


def _literal(value: UUID | datetime | int) -> str:
    if isinstance(value, UUID):
        return f"'{UUID(int=value.int)}'::uuid"
    if isinstance(value, datetime):
        return f"'{value.astimezone(UTC).isoformat()}'::timestamptz"
    if isinstance(value, int):
        return f"{int(value):d}"
    raise TypeError(f"{type(value).__name__} is not written into a statement")


async def refuse_unsafe(tx: "Transaction", service: str, tenant_tables: Sequence[str]) -> None:
    """Raises Unsafe where isolation would not hold for the role of this connection."""
    role = (await tx.execute("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")).one()
    use = f"Use the role {service}_app (or {service}_platform), as deploy/postgres/roles.sql makes it."
    if role.rolsuper or role.rolbypassrls:
        what = "a superuser" if role.rolsuper else "exempt from row-level security (BYPASSRLS)"
        raise Unsafe(f"The role {role.rolname!r} is {what}: the database would isolate nothing. {use}")
    rows = await tx.execute(
        (
            "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity AS forced,"
            " pg_get_userbyid(c.relowner) = current_user AS owned,"
            " EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'tenant') AS policed"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = :schema AND c.relkind IN ('r', 'p')"
        ),
        {"schema": service},
    )
    found = {row.relname: row for row in rows}
    if owned := [name for name, row in found.items() if row.owned]:
        raise Unsafe(f"The role {role.rolname!r} owns {owned[0]!r}: owners can switch isolation off. {use}")
    for name in tenant_tables:
        if name not in found:
            raise Unsafe(f"The table {service}.{name} is missing: run `python -m {service} migrate`.")
        if not (found[name].forced and found[name].policed):
            raise Unsafe(
                f"The table {service}.{name} has no forced row-level security: run `python -m {service} migrate`, and find who switched it off."
            )
    await _refuse_presets(tx, str(role.rolname))
    if (await tx.execute("SELECT current_setting('max_prepared_transactions')")).value() != "0":
        raise Unsafe("max_prepared_transactions is not 0: a forgotten prepared transaction would hold locks for ever. Set it to 0.")


async def _refuse_presets(tx: "Transaction", role: str) -> None:
    """Raises Unsafe for what a server, database or role presets and this code neither sets nor can live with.

    What it sets with each BEGIN does not matter: default_transaction_isolation, default_transaction_read_only, lock_timeout. Nor does
    search_path, since every name has its schema. A test holds that for each.
    """
    names = ("row_security", "synchronous_commit", "statement_timeout", "idle_in_transaction_session_timeout")
    found = await tx.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)", {"names": list(names)})
    preset = {row.name: row.setting for row in found}
    mend = f"Find where it is set (pg_db_role_setting, postgresql.conf), or ALTER ROLE {role} SET"
    if preset["row_security"] != "on":
        raise Unsafe(f"row_security is off for {role}: every statement would fail. {mend} row_security = on.")
    if preset["synchronous_commit"] == "off":
        raise Unsafe(f"synchronous_commit is off for {role}: what is acknowledged could be lost. {mend} synchronous_commit = on.")
    for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
        if 0 < int(preset[name]) < TIMEOUT_MIN_MS:
            raise Unsafe(
                f"{name} is {preset[name]} ms for {role}: calls would be cut off. {mend} {name} = '{TIMEOUT_MIN_MS} ms' or more."
            )
