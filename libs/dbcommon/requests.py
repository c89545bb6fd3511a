"""One effect for each request, however often it is sent (AIP-155).

A row of `requests` says what a request made, or by which rule it was refused; it never holds an answer: a repeat reads the
thing as it is now. The row is the first insert of the transaction that has the effect, so that the unique key decides
between copies of one request.
"""

import dataclasses
import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Boolean, Column, DateTime, LargeBinary, MetaData, SmallInteger, Table, Text, Uuid, func

from callers import Caller
from dbcommon.database import Database, Transaction
from dbcommon.schema import Access
from dbcommon.statements import inserting
from faults import (
    Code,
    DatabaseUnavailable,
    DeadlineExceeded,
    Fault,
    LockTimeout,
    Overloaded,
    Remembered,
    RequestIdReused,
    RequestInFlight,
)

LOCKS_SECONDS = 8
"""How long what follows may wait for any one lock."""
OF_THIS_DATABASE = (DatabaseUnavailable, DeadlineExceeded, LockTimeout, Overloaded, RequestInFlight)
"""It would say no more of what is stored in it."""
ACCESS = Access(app=("SELECT", "INSERT"), platform=("SELECT", "INSERT", "DELETE"), tenant="station_id")

Made = TypeVar("Made")


def table(metadata: MetaData) -> Table:
    """The `requests` of a service."""
    return Table(
        "requests",
        metadata,
        Column("station_id", Uuid, primary_key=True),
        Column("caller", Text, primary_key=True),
        Column("method", Text, primary_key=True),
        Column("request_id", Uuid, primary_key=True),
        Column("fingerprint", LargeBinary, nullable=False),
        Column("made_id", Uuid),
        Column("refusal_code", SmallInteger),
        Column("refusal_reason", Text),
        Column("refusal_common", Boolean),
        Column("refusal_message", Text),
        Column("refusal_metadata", Text),
        Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


@dataclass(slots=True, kw_only=True)
class Request:
    """A request as it can be recognised again."""

    tenant: UUID
    caller: str
    method: str
    request_id: UUID
    fingerprint: bytes
    begun: bool = False
    """Whether this copy of it has come as far as `Requests.begin`, and was the first to."""


def _key(request: Request) -> dict[str, object]:
    return {
        "station_id": request.tenant,
        "caller": request.caller,
        "method": request.method,
        "request_id": request.request_id,
    }


def canonical(content: Any) -> str:
    """Returns the text that is the same for the same content: as JSON of `dataclasses.asdict`, without its deep copies."""
    return CANONICAL.encode(content)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return str(value)


CANONICAL = json.JSONEncoder(sort_keys=True, default=_plain, separators=(",", ":"))


class _Begun(Exception):
    """Another copy of the request committed first."""


class Requests:
    """The requests of one service, seen through one of its databases (the application's, or the platform's)."""

    def __init__(self, database: Database, requests: Table, *, key: bytes) -> None:
        """`key` fingerprints contents: from a fingerprint nobody can guess what was asked."""
        self._database = database
        self._table = requests
        self._inserting = inserting(requests, (*(column.name for column in requests.primary_key), "fingerprint", "made_id"))
        self._key = key

    def request(self, caller: Caller, method: str, *, tenant: UUID, request_id: UUID, content: Any) -> Request:
        """Recognises a request by caller, method and ID; `content` is the parsed request, a frozen dataclass."""
        return Request(
            tenant=tenant,
            caller=f"{caller.kind.value}:{caller.subject}",
            method=method,
            request_id=request_id,
            fingerprint=hmac.digest(self._key, canonical(content).encode(), "sha256"),
        )

    async def once(
        self, request: Request, attempt: Callable[[], Awaitable[Made]], again: Callable[[UUID], Awaitable[Made]]
    ) -> Made:
        """What the request made, now or before; raises the refusal that it met, now or before.

        `attempt` asks peers, then opens one transaction, and calls `begin` first in it: that insert is the look-up. `again` reads what
        was made. What was stored before wins over whatever the attempt meets now: peers that changed, or do not answer.
        """
        try:
            return await attempt()
        except _Begun:
            made = await self._made(request)
        except OF_THIS_DATABASE:
            raise
        except Fault as fault:
            if request.begun and not fault.definite:
                raise
            made = await (self._refuse(request, fault) if fault.definite else self._made(request))
            if made is None:
                raise
        if made is None:  # the first copy rolled back after this one gave way to it
            raise RequestInFlight("the first call with this request_id did not finish; send it again")
        return await again(made)

    async def begin(self, tx: Transaction, request: Request, *, made: UUID) -> None:
        """Takes the request for this transaction; waits at most `database.LOCK_SECONDS` for a copy that did so already.

        Raises RequestInFlight. Afterwards, waits for locks are bounded by LOCKS_SECONDS each.
        """
        # The setting after the insert, in the same round trip.
        statement = f"{self._inserting} ON CONFLICT DO NOTHING RETURNING set_config('lock_timeout', '{LOCKS_SECONDS}s', true)"
        try:
            taken = (await tx.execute(statement, {**_key(request), "fingerprint": request.fingerprint, "made_id": made})).first()
        except LockTimeout as error:
            raise RequestInFlight("the first call with this request_id is still under way; send it again") from error
        if taken is None:
            raise _Begun
        request.begun = True

    async def _made(self, request: Request) -> UUID | None:
        """What the request made before, if it was here before; raises the refusal it met then."""
        body = (
            f"SELECT r.* FROM {self._table.fullname} r WHERE r.station_id = s.tenant"
            " AND r.caller = $2 AND r.method = $3 AND r.request_id = $4 LIMIT 1"
        )
        rows = await self._database.read(body, request.caller, request.method, request.request_id, tenant=request.tenant)
        if not rows:
            return None
        row = rows[0]
        if not hmac.compare_digest(row["fingerprint"], request.fingerprint):
            raise RequestIdReused({"request_id": "it was used for another request; send a new one"})
        if row["refusal_code"] is not None:
            raise Remembered(
                code=Code(row["refusal_code"]),
                reason=row["refusal_reason"],
                common=row["refusal_common"],
                message=row["refusal_message"],
                metadata=json.loads(row["refusal_metadata"]),
            )
        made: UUID = row["made_id"]
        return made

    async def _refuse(self, request: Request, fault: Fault) -> UUID | None:
        """Stores the refusal, then answers what is there: a copy may have succeeded meanwhile."""
        refusal = {
            "refusal_code": fault.code.value, "refusal_reason": fault.reason, "refusal_common": fault.common,
            "refusal_message": fault.message, "refusal_metadata": json.dumps(fault.metadata),
        }  # fmt: skip
        row = {**_key(request), "fingerprint": request.fingerprint, **refusal}
        try:
            async with self._database.transaction(tenant=request.tenant) as tx:
                await tx.execute(f"{inserting(self._table, row)} ON CONFLICT DO NOTHING", row)
        except (DatabaseUnavailable, LockTimeout) as error:
            raise error from fault
        return await self._made(request)
