"""Users and memberships."""

from uuid import UUID

from teppan.common.v1.options_pb2 import PLATFORM_ROLE_ADMIN
from teppan.identity.v1 import memberships_pb2, users_pb2

from identity.domain.memberships import Member, NewMember, Role
from identity.domain.users import NewUser, PlatformRole, User, normalise_email
from identity.usecases.users import Change
from ids import parsed
from rpccommon.shape import validate
from rpccommon.values import instant_from_pb, name_from_pb, packed, set_instant


def new_user_from_pb(request: users_pb2.CreateUserRequest) -> NewUser:
    """The user that is asked for, normalised. Raises InvalidArgument for what is no name."""
    return NewUser(
        name=name_from_pb(request.name, "name"),
        email=normalise_email(request.email),
        password=request.password,
        platform_role=PlatformRole(request.platform_role),
    )


def change_from_pb(request: users_pb2.DisableUserRequest | users_pb2.EnableUserRequest | users_pb2.PurgeUserRequest) -> Change:
    """Which user is to change their state."""
    return Change(user_id=UUID(request.user_id), etag=request.etag)


def administrator_of(*, name: str, email: str, password: str) -> NewUser:
    """An administrator of the platform, by the rules of CreateUser. Raises InvalidArgument with every bad field."""
    request = users_pb2.CreateUserRequest(
        request_id=str(UUID(int=0)), name=name, email=email, password=password, platform_role=PLATFORM_ROLE_ADMIN
    )
    validate(request)
    return new_user_from_pb(request)


def user_to_pb(user: User) -> users_pb2.User:
    """A user, with the email."""
    message = users_pb2.User(
        user_id=str(user.user_id),
        name=user.name,
        email=user.email,
        platform_role=user.platform_role.value,  # type: ignore[arg-type]  # a number of that enum
        state=user.state.value,  # type: ignore[arg-type]  # likewise
        etag=str(user.version),
    )
    set_instant(message.create_time, user.create_time)
    set_instant(message.update_time, user.update_time)
    return message


def event_to_pb(user: User) -> bytes:
    """The payload of a user's events, and the facts for other services: nothing private."""
    message = user_to_pb(user)
    for private in ("name", "email"):
        message.ClearField(private)
    return packed(message)


def new_member_from_pb(request: memberships_pb2.AddMemberRequest) -> NewMember:
    """The membership that is asked for. Raises InvalidArgument for a time that there is not."""
    expires = instant_from_pb(request.expire_time, "expire_time") if request.HasField("expire_time") else None
    return NewMember(
        station_id=parsed(request.station_id),
        user_id=UUID(request.user_id),
        role=Role(request.role),
        expire_time=expires,
    )


def member_to_pb(member: Member) -> memberships_pb2.Member:
    """A membership."""
    message = memberships_pb2.Member(
        station_id=str(member.station_id),
        user_id=str(member.user_id),
        role=member.role.value,  # type: ignore[arg-type]  # a number of that enum
    )
    if member.expire_time:
        set_instant(message.expire_time, member.expire_time)
    set_instant(message.create_time, member.create_time)
    return message
