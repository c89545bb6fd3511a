"""The servicers: parse, call, answer. Nothing is decided here."""

from typing import Any
from uuid import UUID

from teppan.identity.v1 import (
    memberships_pb2,
    memberships_pb2_grpc,
    stations_pb2,
    stations_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    users_pb2,
    users_pb2_grpc,
)

import pages
from identity.domain.addresses import Proxies, client_of
from identity.domain.users import normalise_email
from identity.usecases.logins import Logins
from identity.usecases.memberships import Memberships
from identity.usecases.purges import Purging
from identity.usecases.stations import Stations
from identity.usecases.users import Users
from identity.wire import stations as stations_wire
from identity.wire import users as users_wire
from ids import parsed
from rpccommon.present import caller, deadline_left
from rpccommon.values import set_instant

Context = Any
"""A grpc.aio.ServicerContext; only a login asks it, from where."""

PURGE_SECONDS = 5.0
"""How long a call waits for those who refer: what they do then is done without it."""


class StationsServicer(stations_pb2_grpc.StationsServiceServicer):
    """StationsService."""

    def __init__(self, stations: Stations, purging: Purging, tokens: pages.Tokens) -> None:
        """Takes its use cases, and what signs page tokens."""
        self._stations = stations
        self._purging = purging
        self._tokens = tokens

    async def CreateStation(
        self, request: stations_pb2.CreateStationRequest, context: Context
    ) -> stations_pb2.CreateStationResponse:
        """Makes one."""
        wanted = stations_wire.new_station_from_pb(request)
        station = await self._stations.create(caller(), wanted, request_id=UUID(request.request_id))
        return stations_pb2.CreateStationResponse(station=stations_wire.station_to_pb(station))

    async def GetStation(self, request: stations_pb2.GetStationRequest, context: Context) -> stations_pb2.GetStationResponse:
        """Reads one."""
        station = await self._stations.get(parsed(request.station_id))
        return stations_pb2.GetStationResponse(station=stations_wire.station_to_pb(station))

    async def BatchGetStations(
        self, request: stations_pb2.BatchGetStationsRequest, context: Context
    ) -> stations_pb2.BatchGetStationsResponse:
        """Reads many, in order."""
        stations = await self._stations.some([UUID(id) for id in request.station_ids])
        answers = [
            stations_pb2.Station(station_id=id) if station is None else stations_wire.station_to_pb(station)
            for id, station in zip(request.station_ids, stations, strict=True)
        ]
        return stations_pb2.BatchGetStationsResponse(stations=answers)

    async def ListStations(self, request: stations_pb2.ListStationsRequest, context: Context) -> stations_pb2.ListStationsResponse:
        """A page of those that the caller may see."""
        after = stations_wire.code_from_pb(request, self._tokens)
        size = pages.page_size(request.page_size)
        page = await self._stations.page(caller(), show_deleted=request.show_deleted, after=after, size=size)
        return stations_wire.page_to_pb(page, self._tokens, stations_wire.purpose_of(request))

    async def SuspendStation(
        self, request: stations_pb2.SuspendStationRequest, context: Context
    ) -> stations_pb2.SuspendStationResponse:
        """Takes one out of use."""
        wanted = stations_wire.change_from_pb(request)
        station = await self._stations.suspend(caller(), wanted, request_id=UUID(request.request_id))
        return stations_pb2.SuspendStationResponse(station=stations_wire.station_to_pb(station))

    async def ResumeStation(
        self, request: stations_pb2.ResumeStationRequest, context: Context
    ) -> stations_pb2.ResumeStationResponse:
        """Takes one into use again."""
        wanted = stations_wire.change_from_pb(request)
        station = await self._stations.resume(caller(), wanted, request_id=UUID(request.request_id))
        return stations_pb2.ResumeStationResponse(station=stations_wire.station_to_pb(station))

    async def DeleteStation(
        self, request: stations_pb2.DeleteStationRequest, context: Context
    ) -> stations_pb2.DeleteStationResponse:
        """Deletes one softly."""
        wanted = stations_wire.change_from_pb(request)
        station = await self._stations.delete(caller(), wanted, request_id=UUID(request.request_id))
        return stations_pb2.DeleteStationResponse(station=stations_wire.station_to_pb(station))

    async def UndeleteStation(
        self, request: stations_pb2.UndeleteStationRequest, context: Context
    ) -> stations_pb2.UndeleteStationResponse:
        """Takes a deletion back."""
        wanted = stations_wire.change_from_pb(request)
        station = await self._stations.undelete(caller(), wanted, request_id=UUID(request.request_id))
        return stations_pb2.UndeleteStationResponse(station=stations_wire.station_to_pb(station))

    async def PurgeStation(self, request: stations_pb2.PurgeStationRequest, context: Context) -> stations_pb2.PurgeStationResponse:
        """Removes one for ever."""
        wanted, request_id = stations_wire.change_from_pb(request), UUID(request.request_id)
        station = await self._purging.station(caller(), wanted, request_id=request_id, patience=_patience())
        return stations_pb2.PurgeStationResponse(station=stations_wire.station_to_pb(station))


class UsersServicer(users_pb2_grpc.UsersServiceServicer):
    """UsersService."""

    def __init__(self, users: Users, purging: Purging) -> None:
        """Takes its use cases."""
        self._users = users
        self._purging = purging

    async def CreateUser(self, request: users_pb2.CreateUserRequest, context: Context) -> users_pb2.CreateUserResponse:
        """Makes one."""
        user = await self._users.create(caller(), users_wire.new_user_from_pb(request), request_id=UUID(request.request_id))
        return users_pb2.CreateUserResponse(user=users_wire.user_to_pb(user))

    async def DisableUser(self, request: users_pb2.DisableUserRequest, context: Context) -> users_pb2.DisableUserResponse:
        """Keeps one out."""
        user = await self._users.disable(caller(), users_wire.change_from_pb(request), request_id=UUID(request.request_id))
        return users_pb2.DisableUserResponse(user=users_wire.user_to_pb(user))

    async def EnableUser(self, request: users_pb2.EnableUserRequest, context: Context) -> users_pb2.EnableUserResponse:
        """Lets one in again."""
        user = await self._users.enable(caller(), users_wire.change_from_pb(request), request_id=UUID(request.request_id))
        return users_pb2.EnableUserResponse(user=users_wire.user_to_pb(user))

    async def PurgeUser(self, request: users_pb2.PurgeUserRequest, context: Context) -> users_pb2.PurgeUserResponse:
        """Removes one for ever."""
        wanted, request_id = users_wire.change_from_pb(request), UUID(request.request_id)
        user = await self._purging.user(caller(), wanted, request_id=request_id, patience=_patience())
        return users_pb2.PurgeUserResponse(user=users_wire.user_to_pb(user))


class MembershipsServicer(memberships_pb2_grpc.MembershipsServiceServicer):
    """MembershipsService."""

    def __init__(self, memberships: Memberships) -> None:
        """Takes its use cases."""
        self._memberships = memberships

    async def AddMember(self, request: memberships_pb2.AddMemberRequest, context: Context) -> memberships_pb2.AddMemberResponse:
        """Gives somebody a role."""
        wanted = users_wire.new_member_from_pb(request)
        member = await self._memberships.add(caller(), wanted, request_id=UUID(request.request_id))
        return memberships_pb2.AddMemberResponse(member=users_wire.member_to_pb(member))


class TokensServicer(tokens_pb2_grpc.TokensServiceServicer):
    """TokensService."""

    def __init__(self, logins: Logins, jwks: str, proxies: Proxies) -> None:
        """Takes its use cases, the public keys as a JWK Set, and whose word on a client's address counts."""
        self._logins = logins
        self._jwks = jwks
        self._proxies = proxies

    async def Login(self, request: tokens_pb2.LoginRequest, context: Context) -> tokens_pb2.LoginResponse:
        """Gives a token for a password."""
        names = {name.decode() for name in context.auth_context().get("x509_subject_alternative_name", ())}
        forwarded = [value for key, value in context.invocation_metadata() or () if key == "x-forwarded-for"]
        address = client_of(context.peer(), names, forwarded, self._proxies)
        issued = await self._logins.login(normalise_email(request.email), request.password, address=address)
        message = tokens_pb2.LoginResponse(access_token=issued.token, user_id=str(issued.user_id))
        set_instant(message.expire_time, issued.expire_time)
        return message

    async def GetKeys(self, request: tokens_pb2.GetKeysRequest, context: Context) -> tokens_pb2.GetKeysResponse:
        """The keys that tokens are verified with."""
        return tokens_pb2.GetKeysResponse(jwks_json=self._jwks)


def _patience() -> float:
    """Half of what is left, at most: the rest is for the answer."""
    left = deadline_left()
    return PURGE_SECONDS if left is None else min(PURGE_SECONDS, left / 2)
