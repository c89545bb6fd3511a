"""Users to be purged, and what a check says of a thing."""

from typing import Any

from teppan.common.v1 import options_pb2
from teppan.common.v1 import references_pb2 as references
from teppan.identity.v1 import memberships_pb2, users_pb2

from tests.integration.stage import Teppan, new

PASSWORD = "correct horse battery"  # noqa: S105  # nobody's


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
