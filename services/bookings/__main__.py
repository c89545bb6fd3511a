"""`python -m bookings` serves; `migrate` brings the schema to its newest revision; `events` and `sagas` say what waits."""

import os
import secrets
import sys
from pathlib import Path

from teppan.bookings.v1 import bookings_pb2, bookings_pb2_grpc, customers_pb2, customers_pb2_grpc, slots_pb2, slots_pb2_grpc

import command
from bookings import config as configuration
from bookings.config import Config
from bookings.rpc import BookingsServicer, CustomersServicer, SlotsServicer
from bookings.store import listing, sagas
from bookings.tables import SCHEMA, known_stations, known_users, requests_
from bookings.usecases.bookings import Bookings
from bookings.usecases.customers import Customers
from bookings.usecases.deposits import Deposits
from bookings.usecases.referents import TYPES, Referents
from bookings.usecases.slots import Slots
from bookings.wire import bookings as bookings_wire
from bookings.wire import heard
from bookings.wire.bookings import event_to_pb
from bookings.workers import Accounts, Expiry
from dbcommon.references import KnownRows, References
from dbcommon.requests import Requests
from ids import new_id
from rpccommon.feed import events_of
from rpccommon.references import Checker
from service import Following, Parts, Serving, now, published_keys

DIGITS = "23456789ABCDEFGHJKLMNPQRSTUVWXY"
"""None that people mistake for another."""
REFERENCE_DIGITS = 8
MIGRATIONS = Path(__file__).parent / "migrations"
SERVICES = (
    customers_pb2.DESCRIPTOR.services_by_name["CustomersService"],
    slots_pb2.DESCRIPTOR.services_by_name["SlotsService"],
    bookings_pb2.DESCRIPTOR.services_by_name["BookingsService"],
)


def reference() -> str:
    """A booking's name for people: one of 31^8. Of ten million bookings some 59 draw one that is taken, and draw again."""
    number, digits = secrets.randbelow(len(DIGITS) ** REFERENCE_DIGITS), []
    for _ in range(REFERENCE_DIGITS):
        number, digit = divmod(number, len(DIGITS))
        digits.append(DIGITS[digit])
    return "TP-" + "".join(digits)


def build(config: Config) -> Serving:
    """Wires the service by plain calls, from the databases up to the servicers."""
    parts = Parts(settings=config.common, schema=SCHEMA, migrations=MIGRATIONS)
    identity = parts.peer("identity")
    payments = parts.peer("payments")

    stations = KnownRows(parts.platform, known_stations, owner="identity", type="identity.Station", facts=heard.station_facts)
    users = KnownRows(parts.platform, known_users, owner="identity", type="identity.User", facts=heard.no_facts)
    references = References({known.type: known for known in (stations, users)}, {"identity": Checker(identity, now)})
    requests = Requests(parts.app, requests_, key=config.common.token_key)

    customers = Customers(app=parts.app, requests=requests, references=references, keyring=config.keyring, now=now, new_id=new_id)
    slots = Slots(app=parts.app, requests=requests, references=references, now=now)
    bookings = Bookings(
        app=parts.app, requests=requests, references=references, encode=event_to_pb, reference=reference, now=now, new_id=new_id
    )

    encoder = parts.encoder(bookings_wire.plan(listing.TYPED))
    deposits = Deposits(platform=parts.platform, encode=event_to_pb, now=now, new_id=new_id)
    registry = parts.registry(TYPES)
    accounts = Accounts(deposits=deposits, read=heard.account_from_event)
    return Serving(
        parts=parts,
        verifier=parts.verifier(published_keys(identity), events_of(identity)),
        referents=Referents(platform=parts.platform, feed=parts.feed, registry=registry, encode=event_to_pb),
        referrers=registry,
        services=SERVICES,
        register=[
            lambda server: customers_pb2_grpc.add_CustomersServiceServicer_to_server(CustomersServicer(customers), server),
            lambda server: slots_pb2_grpc.add_SlotsServiceServicer_to_server(SlotsServicer(slots), server),
            lambda server: bookings_pb2_grpc.add_BookingsServiceServicer_to_server(
                BookingsServicer(bookings, parts.tokens, encoder), server
            ),
        ],
        peers=[identity, payments],
        following=[
            Following(peer=identity, known=[stations, users]),
            Following(
                peer=payments, others={"payments.Account": accounts.apply}, unsaid={"payments.Account": deposits.note_untold}
            ),
        ],
        elected=[Expiry(deposits=deposits).run],
        sagas=sagas.KINDS,
        fresh=lambda: parts.freshness.require("identity"),
        lists=parts.compiled.says,
    )


def main() -> int:
    """The command line; the exit code."""
    return command.main(SCHEMA, MIGRATIONS, lambda environ: build(configuration.read(environ)), os.environ, sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
