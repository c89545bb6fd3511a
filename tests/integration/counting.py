"""Who refers, and answers an owner's question by what it knows and has, and removes what is to go; and users to be purged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import asyncpg
from teppan.common.v1 import options_pb2
from teppan.common.v1 import references_pb2 as references
from teppan.identity.v1 import memberships_pb2, users_pb2

from dbcommon.references import Known
from faults import NotClosedYet
from referring import Column, Rule
from rpccommon.registry import registry as contract
from service import Serving
from tests.integration.stage import Teppan, new

PASSWORD = "correct horse battery"  # noqa: S105  # nobody's
KNOWN = {"identity.Station": "known_stations", "identity.User": "known_users"}


@dataclass(frozen=True)
class Counting:
    """Answers for a service from its tables, with the rights of a superuser."""

    url: str
    service: str

    async def count(self, type: str, id: UUID, *, epoch: UUID, version: int) -> Sequence[tuple[Column, int]]:
        """Counts, once the thing is closed here; then removes what goes with it, where it is gone."""
        columns = [column for column in contract() if (column.service, column.type) == (self.service, type)]
        rows = await asyncpg.connect(self.url)
        try:
            known = await rows.fetchrow(f"SELECT epoch, version, state FROM {self.service}.{KNOWN[type]} WHERE id = $1", id)
            closed = known is not None and known["state"] in {Known.CLOSED, Known.PURGED}
            if not closed or (known["epoch"], known["version"]) != (epoch, version):
                raise NotClosedYet("not yet")
            counted = [each for each in columns if each.rule is not Rule.KEEP]
            counts = [(each, await rows.fetchval(self._sql("SELECT count(*) FROM", each), id)) for each in counted]
            if known["state"] == Known.PURGED:
                for each in counted:
                    if each.rule is Rule.CASCADE:
                        await rows.execute(self._sql("DELETE FROM", each), id)
                    if each.rule is Rule.NULLIFY:
                        await rows.execute(f"UPDATE {each.service}.{each.table} SET {each.name} = NULL WHERE {each.name} = $1", id)
            return counts
        finally:
            await rows.close()

    def _sql(self, verb: str, column: Column) -> str:
        return f"{verb} {column.service}.{column.table} WHERE {column.name} = $1"


def counting_on(url: str) -> Callable[[Serving], Serving]:
    """Lets all but identity count so, in the database of that URL."""

    def altered(built: Serving) -> Serving:
        service = built.parts.schema.service
        return built if service == "identity" else replace(built, counting=Counting(url, service))

    return altered


async def state_of(teppan: Teppan, type: str, id: str, station: str = "") -> int:
    """What a check answers."""
    request = references.CheckReferencesRequest(type=type, items=[references.ReferenceItem(station_id=station, id=id)])
    answer = await teppan.references("identity").CheckReferences(request, metadata=teppan.service("bookings"))
    return int(answer.answers[0].state)


async def enrolled(teppan: Teppan, email: str, **more: Any) -> users_pb2.User:
    request = users_pb2.CreateUserRequest(request_id=new(), name="Ann Archer", email=email, password=PASSWORD, **more)
    answer: users_pb2.CreateUserResponse = await teppan.users.CreateUser(request, metadata=teppan.admin)
    return answer.user


async def disabled(teppan: Teppan, user: str) -> users_pb2.User:
    request = users_pb2.DisableUserRequest(request_id=new(), user_id=user)
    answer: users_pb2.DisableUserResponse = await teppan.users.DisableUser(request, metadata=teppan.admin)
    return answer.user


def membership(station: str, user: str) -> memberships_pb2.AddMemberRequest:
    return memberships_pb2.AddMemberRequest(request_id=new(), station_id=station, user_id=user, role=options_pb2.ROLE_AGENT)
