"""`python -m identity` serves; `migrate` brings the schema to its newest revision; `bootstrap` makes the first administrator."""

import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

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

import command
from callers import Caller
from dbcommon.references import Driver, Purges
from dbcommon.requests import Requests
from identity import commands
from identity import config as configuration
from identity.config import Config, kid_of
from identity.domain.logins import TOKEN_LIFETIME
from identity.passwords import Argon2Passwords
from identity.rpc import MembershipsServicer, StationsServicer, TokensServicer, UsersServicer
from identity.store import sagas
from identity.tables import SCHEMA, requests_
from identity.usecases.logins import Logins
from identity.usecases.memberships import Memberships
from identity.usecases.purges import PurgeableStations, PurgeableUsers, Purging
from identity.usecases.referents import TYPES, Referents
from identity.usecases.stations import Stations
from identity.usecases.users import Users
from identity.wire import stations as stations_wire
from identity.wire import users as users_wire
from ids import new_id
from rpccommon.auth import access_token
from rpccommon.client import Peer
from rpccommon.keys import FixedKeys
from rpccommon.references import Counter
from service import Parts, Serving, now

MIGRATIONS = Path(__file__).parent / "migrations"
PLATFORM_POOL = 16
"""Logins, and everything that a platform administrator does."""
SERVICES = (
    stations_pb2.DESCRIPTOR.services_by_name["StationsService"],
    users_pb2.DESCRIPTOR.services_by_name["UsersService"],
    memberships_pb2.DESCRIPTOR.services_by_name["MembershipsService"],
    tokens_pb2.DESCRIPTOR.services_by_name["TokensService"],
)


def build(config: Config) -> Serving:
    """Wires the service by plain calls, from the databases up to the servicers."""
    parts = parts_of(config)
    users = users_of(config, parts)
    stations = Stations(
        app=parts.app, platform=parts.platform, requests=users.requests, encode=stations_wire.event_to_pb, now=now, new_id=new_id
    )
    memberships = Memberships(app=parts.app, requests=Requests(parts.app, requests_, key=config.common.token_key), now=now)
    key = config.signing_keys[0]
    kid = kid_of(key.public_key())

    def sign(caller: Caller, at: datetime) -> str:
        return access_token(key=key, kid=kid, caller=caller, now=at, lifetime=TOKEN_LIFETIME)

    logins = Logins(platform=parts.platform, keyring=config.keyring, passwords=users.passwords, sign=sign, now=now)
    registry, peers = parts.registry(TYPES), [parts.peer("bookings"), parts.peer("payments")]
    purging = purging_of(parts, stations, users, Purges(parts.platform, SCHEMA.service, registry), peers)
    referents = Referents(
        platform=parts.platform, feed=parts.feed, registry=registry,
        encode_station=stations_wire.event_to_pb, encode_user=users_wire.event_to_pb,
    )  # fmt: skip
    return Serving(
        parts=parts,
        verifier=parts.verifier(FixedKeys.from_jwks(config.jwks), parts.own_events),
        referents=referents,
        purges=purging.driver,
        referrers=registry,
        sagas=sagas.KINDS,
        elected=[logins.forget],
        peers=peers,
        services=SERVICES,
        register=[
            lambda server: stations_pb2_grpc.add_StationsServiceServicer_to_server(
                StationsServicer(stations, purging, parts.tokens), server
            ),
            lambda server: users_pb2_grpc.add_UsersServiceServicer_to_server(UsersServicer(users, purging), server),
            lambda server: memberships_pb2_grpc.add_MembershipsServiceServicer_to_server(MembershipsServicer(memberships), server),
            lambda server: tokens_pb2_grpc.add_TokensServiceServicer_to_server(
                TokensServicer(logins, config.jwks, config.proxies), server
            ),
        ],
    )


def purging_of(parts: Parts, stations: Stations, users: Users, purges: Purges, referrers: Sequence[Peer]) -> Purging:
    """The use cases of purges, and what drives them on."""
    purgeable_stations = PurgeableStations(stations=stations, now=now)
    purgeable_users = PurgeableUsers(users=users, now=now)
    driver = Driver(
        purges,
        {things.type: things for things in (purgeable_stations, purgeable_users)},
        {peer.name: Counter(peer) for peer in referrers},
    )
    return Purging(
        stations=stations, users=users, driver=driver, purgeable_stations=purgeable_stations, purgeable_users=purgeable_users
    )


def parts_of(config: Config) -> Parts:
    """What the use cases are built on."""
    return Parts(settings=config.common, schema=SCHEMA, migrations=MIGRATIONS, platform_pool=PLATFORM_POOL)


def users_of(config: Config, parts: Parts) -> Users:
    """The use cases of users: the service's, and the command's."""
    return Users(
        platform=parts.platform,
        requests=Requests(parts.platform, requests_, key=config.common.token_key),
        keyring=config.keyring,
        passwords=Argon2Passwords(),
        encode=users_wire.event_to_pb,
        now=now,
        new_id=new_id,
    )


def main() -> int:
    """The command line; the exit code."""
    return command.main(
        SCHEMA, MIGRATIONS, lambda environ: build(configuration.read(environ)), os.environ, sys.argv[1:],
        lambda added: commands.add_bootstrap(added, configuration.read, lambda config: users_of(config, parts_of(config))),
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
