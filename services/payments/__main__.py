"""`python -m payments` serves; `migrate` brings the schema to its newest revision; `events` and `sagas` say what waits."""

import os
import sys
from pathlib import Path

from teppan.payments.v1 import payments_pb2, payments_pb2_grpc

import command
from dbcommon.references import KnownRows, References
from dbcommon.requests import Requests
from ids import new_id
from payments import config as configuration
from payments.config import Config
from payments.rpc import PaymentsServicer
from payments.store import SAGAS
from payments.tables import SCHEMA, booking_accounts, known_stations, requests_
from payments.usecases import Accounts, Payments, Referents
from payments.wire import heard
from payments.wire.payments import account_event_to_pb, payment_event_to_pb
from rpccommon.feed import events_of
from rpccommon.references import Checker
from service import Following, Parts, Serving, now, published_keys

MIGRATIONS = Path(__file__).parent / "migrations"
SERVICES = (payments_pb2.DESCRIPTOR.services_by_name["PaymentsService"],)


def build(config: Config) -> Serving:
    """Wires the service by plain calls, from the databases up to the servicer."""
    parts = Parts(settings=config.common, schema=SCHEMA, migrations=MIGRATIONS)
    identity = parts.peer("identity")
    bookings = parts.peer("bookings")

    stations = KnownRows(parts.platform, known_stations, owner="identity", type="identity.Station", facts=heard.no_facts)
    accounts = KnownRows(
        parts.platform, booking_accounts, owner="bookings", type="bookings.Booking", facts=heard.booking_facts,
        closed=Accounts(encode=account_event_to_pb, new_id=new_id).closed,
    )  # fmt: skip
    references = References(
        {known.type: known for known in (stations, accounts)},
        {"identity": Checker(identity, now), "bookings": Checker(bookings, now)},
    )

    payments = Payments(
        app=parts.app,
        requests=Requests(parts.app, requests_, key=config.common.token_key),
        references=references,
        fresh=lambda: parts.freshness.require("bookings"),
        encode_payment=payment_event_to_pb,
        encode_account=account_event_to_pb,
        now=now,
        new_id=new_id,
    )
    return Serving(
        parts=parts,
        verifier=parts.verifier(published_keys(identity), events_of(identity)),
        referents=Referents(platform=parts.platform, feed=parts.feed, encode=account_event_to_pb),
        services=SERVICES,
        register=[
            lambda server: payments_pb2_grpc.add_PaymentsServiceServicer_to_server(
                PaymentsServicer(payments, parts.tokens), server
            ),
        ],
        peers=[identity, bookings],
        following=[
            Following(peer=identity, known=[stations]),
            Following(peer=bookings, known=[accounts]),
        ],
        sagas=SAGAS,
        fresh=lambda: parts.freshness.require("identity"),
    )


def main() -> int:
    """The command line; the exit code."""
    return command.main(SCHEMA, MIGRATIONS, lambda environ: build(configuration.read(environ)), os.environ, sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
