"""A channel reaches one address or several replicas, encrypted wherever somebody could listen."""

import asyncio
import json
import socket
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc import StatusCode
from teppan.bookings.v1 import bookings_pb2 as pb
from teppan.bookings.v1 import bookings_pb2_grpc
from teppan.client import Tls, channel, pages
from teppan.client.connection import Connection, connection_to

from tests.unit.client.drivers import Driver
from tests.unit.client.fakes import ALL, NOT_SERVING, SERVING, WAIT_SECONDS, Break, Fake, hold, ids
from tests.unit.client.proxy import Proxy

GET = pb.GetBookingRequest(booking_id="b1")
HERE = ["localhost:1", "127.0.0.1:1", "127.9.8.7:1", "[::1]:1", "unix:/run/teppan.sock", "unix:relative.sock"]
ELSEWHERE = ["bookings:50052", "bookings.example.com:443", "10.0.0.7:50052", "[2001:db8::1]:50052", "localhost.example.com:1"]
NO_ADDRESSES = [
    "bookings",
    "bookings:",
    ":50052",
    "bookings:http",
    "::1:50052",
    "dns:///bookings:1",
    "[]:1",
    "",
    "a:0",
    "a:70000",
    "a:\u0661\u0662",
    "a:" + "1" * 5000,
]


def get(client: Driver, *addresses: str, **options: Any) -> Any:
    return client.call(
        bookings_pb2_grpc.BookingsServiceStub(client.channel(*addresses, **options)).GetBooking, GET, timeout=WAIT_SECONDS
    )


def option(found: Connection, name: str) -> Any:
    return dict(found.options).get(name)


# Plaintext -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", HERE)
def test_this_machine_is_reached_in_plaintext(address: str) -> None:
    assert connection_to(address, tls=None, plaintext=False).credentials is None


@pytest.mark.parametrize("address", ELSEWHERE)
def test_another_machine_is_reached_in_plaintext_only_where_that_is_asked_for(client: Driver, address: str) -> None:
    with pytest.raises(ValueError, match=r"tls=Tls\(...\), or plaintext=True"):
        client.channel(address)
    assert connection_to(address, tls=None, plaintext=True).credentials is None
    assert connection_to(address, tls=Tls(), plaintext=False).credentials is not None


def test_one_address_elsewhere_among_several_is_enough_for_a_refusal(client: Driver) -> None:
    with pytest.raises(ValueError, match=r"'10\.0\.0\.7' is another machine"):
        client.channel("127.0.0.1:1", "10.0.0.7:1")


# Addresses -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is not 'host:port'"):
        channel(address)


def test_no_address_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an address"):
        channel([])


def test_one_address_is_resolved_by_grpc_and_not_asked_for_its_health() -> None:
    found = connection_to("bookings:50052", tls=Tls(), plaintext=False)
    assert found.target == "dns:///bookings:50052"
    assert option(found, "grpc.service_config") is None
    assert connection_to(["bookings:50052"], tls=Tls(), plaintext=False).target == found.target


def test_channels_share_no_connection_or_two_that_watch_its_health_could_crash_the_process() -> None:
    assert option(connection_to(["127.0.0.1:1", "127.0.0.2:2"], tls=None, plaintext=False), "grpc.use_local_subchannel_pool") == 1


def test_replicas_take_turns_and_are_asked_for_their_health() -> None:
    found = connection_to(["127.0.0.1:1", "127.0.0.2:2"], tls=None, plaintext=False)
    assert found.target == "ipv4:127.0.0.1:1,127.0.0.2:2"
    config = json.loads(option(found, "grpc.service_config"))
    assert config == {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}


def test_replicas_may_have_names_and_both_kinds_of_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"a": ["10.0.0.1", "10.0.0.2"], "b": ["2001:db8::1"], "c": ["2001:db8::2", "10.0.0.3"]}

    def getaddrinfo(host: str, port: str, **_: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(-2, "unknown")
        return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, 0, 0, "", (ip, int(port))) for ip in known[host]]

    def target(*addresses: str) -> str:
        return connection_to(addresses, tls=None, plaintext=True).target

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert target("a:1", "c:2") == "ipv4:10.0.0.1:1,10.0.0.2:1,10.0.0.3:2"
    assert target("b:1", "c:2") == "ipv6:[2001:db8::1]:1,[::ffff:10.0.0.3]:2"
    with pytest.raises(OSError, match="no address of 'd' is known"):
        target("a:1", "d:1")
    with pytest.raises(ValueError, match="cannot be one of several"):
        target("a:1", "unix:/run/teppan.sock")


# The environment, and what grpc is told -----------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["http_proxy", "grpc_proxy"])
async def test_no_proxy_of_the_environment_stands_before_this_machine(
    client: Driver, fake: Fake, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")  # where nobody listens
    fake.health.set("", SERVING)
    assert (await get(client, fake.address)).booking.booking_id == "b1"
    assert (await get(client, fake.address, f"localhost:{fake.port}")).booking.booking_id == "b1"


def test_a_proxy_is_for_tls_to_other_machines_only() -> None:
    for address, tls in (("127.0.0.1:1", None), ("10.0.0.7:1", None), ("localhost:1", Tls())):
        assert option(connection_to(address, tls=tls, plaintext=True), "grpc.enable_http_proxy") == 0
    assert option(connection_to("10.0.0.7:1", tls=Tls(), plaintext=False), "grpc.enable_http_proxy") is None


def test_dead_connections_are_looked_for() -> None:
    found = connection_to("127.0.0.1:1", tls=None, plaintext=False)
    assert option(found, "grpc.keepalive_time_ms") == 20_000  # silence, after which a server is asked; 30 s together
    assert option(found, "grpc.keepalive_timeout_ms") == 10_000  # and how long it has for its answer
    assert option(found, "grpc.http2.ping_timeout_ms") == 10_000  # what in fact ends it: its own default is a minute
    assert option(found, "grpc.http2.max_pings_without_data") == 0  # after the second ping of a silent stream none would go


@pytest.mark.long
def test_a_frozen_connection_is_noticed_within_thirty_seconds(fake: Fake) -> None:
    with Proxy(fake.port) as proxy:

        def freeze(context: Any) -> None:
            proxy.freeze()
            hold(context)

        fake.plan("ListBookings", Break(2, freeze))
        began = time.monotonic()
        with channel(f"127.0.0.1:{proxy.port}") as made:
            stub: Any = bookings_pb2_grpc.BookingsServiceStub(made)
            assert ids(list(pages(stub.ListBookings, pb.ListBookingsRequest()))) == ALL
        assert time.monotonic() - began < 35
    assert len(fake.seen) == 2


async def test_a_message_may_be_as_large_as_a_service_makes_it(client: Driver, fake: Fake) -> None:
    large = pb.GetBookingRequest(booking_id="b" * 4 * 1024 * 1024)
    stub = bookings_pb2_grpc.BookingsServiceStub(client.channel(fake.address))
    assert (await client.call(stub.GetBooking, large)).booking.booking_id == large.booking_id


# TLS -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def served(ca: trustme.CA, *names: str, clients: bytes | None = None) -> Fake:
    """A server whose certificate has these names; `clients` is what it demands theirs to be signed by."""
    leaf = ca.issue_cert(*names)
    chain = b"".join(part.bytes() for part in leaf.cert_chain_pems)
    pair = [(leaf.private_key_pem.bytes(), chain)]
    return Fake(grpc.ssl_server_credentials(pair, clients, require_client_auth=clients is not None))


async def test_tls_with_a_ca_of_ones_own(client: Driver, ca: trustme.CA, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    tls = Tls.from_files(ca=file)
    assert tls == Tls(ca=ca.cert_pem.bytes())
    with served(ca, "localhost") as fake:
        assert (await get(client, f"localhost:{fake.port}", tls=tls)).booking.booking_id == "b1"


async def test_a_server_that_is_somebody_else_is_not_spoken_to(client: Driver, ca: trustme.CA) -> None:
    with served(ca, "bookings.internal") as fake:
        for tls in (Tls(ca=trustme.CA().cert_pem.bytes(), server_name="bookings.internal"), Tls(ca=ca.cert_pem.bytes())):
            stub = bookings_pb2_grpc.BookingsServiceStub(client.channel(f"localhost:{fake.port}", tls=tls))
            with pytest.raises(grpc.RpcError) as caught:
                await client.call(stub.GetBooking, GET, timeout=0.8)
            assert caught.value.code() is StatusCode.UNAVAILABLE
        assert not fake.seen
        named = Tls(ca=ca.cert_pem.bytes(), server_name="bookings.internal")
        assert await get(client, f"localhost:{fake.port}", tls=named)


async def test_a_client_shows_a_certificate_where_servers_ask_for_one(client: Driver, ca: trustme.CA, tmp_path: Path) -> None:
    own = ca.issue_cert("client.internal")
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "own.pem"))
    own.private_key_pem.write_to_path(str(tmp_path / "own.key"))
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = Tls.from_files(ca=tmp_path / "ca.pem", certificate=tmp_path / "own.pem", key=str(tmp_path / "own.key"))
    assert "PRIVATE" not in repr(tls)
    with served(ca, "localhost", clients=ca.cert_pem.bytes()) as fake:
        assert await get(client, f"localhost:{fake.port}", tls=tls)


def test_a_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(ValueError, match="go together"):
        Tls(certificate=b"pem")


def test_replicas_of_different_names_need_one_name_for_tls() -> None:
    with pytest.raises(ValueError, match="server_name"):
        connection_to(["127.0.0.1:1", "127.0.0.2:1"], tls=Tls(), plaintext=False)
    named = connection_to(["127.0.0.1:1", "127.0.0.2:1"], tls=Tls(server_name="bookings.internal"), plaintext=False)
    assert option(named, "grpc.default_authority") == "bookings.internal"


async def test_replicas_of_one_name_are_reached_by_tls(client: Driver, ca: trustme.CA) -> None:
    with served(ca, "localhost") as one, served(ca, "localhost") as other:
        for fake in (one, other):
            fake.health.set("", SERVING)
        assert await get(client, f"localhost:{one.port}", f"localhost:{other.port}", tls=Tls(ca=ca.cert_pem.bytes()))


# Replicas --------------------------------------------------------------------------------------------------------------


async def test_of_two_replicas_one_drains_and_stops_and_no_call_fails(client: Driver) -> None:
    with Fake() as stays:
        goes = Fake()
        for fake in (goes, stays):
            fake.health.set("", SERVING)
        made = client.channel(goes.address, f"localhost:{stays.port}")
        stub = bookings_pb2_grpc.BookingsServiceStub(made)
        going, answers = True, 0

        async def work() -> None:
            nonlocal answers
            while going:
                await client.call(stub.GetBooking, GET)
                answers += 1

        workers = [asyncio.create_task(work()) for _ in range(4)]
        await until(lambda: bool(goes.seen and stays.seen))
        goes.health.set("", NOT_SERVING)
        await until(lambda: left(goes, stays))
        goes.stop()
        before = answers
        await until(lambda: answers > before + 50)
        going = False
        await asyncio.gather(*workers)


def left(goes: Fake, stays: Fake) -> bool:
    """Whether the last calls all went to the one that stays, by what was seen since the last look."""
    arrived = len(goes.seen), len(stays.seen)
    goes.seen.clear()
    stays.seen.clear()
    return arrived[0] == 0 and arrived[1] > 0


async def test_a_replica_that_dies_without_a_word_fails_no_call(client: Driver) -> None:
    with Fake() as stays:
        dies = Fake()
        for fake in (dies, stays):
            fake.health.set("", SERVING)
        stub = bookings_pb2_grpc.BookingsServiceStub(client.channel(dies.address, stays.address))
        calls = [asyncio.create_task(repeated(client, stub)) for _ in range(4)]
        await until(lambda: bool(dies.seen and stays.seen))
        dies.stop()
        await asyncio.gather(*calls)


async def repeated(client: Driver, stub: Any) -> None:
    for _ in range(100):
        await client.call(stub.GetBooking, GET)


async def until(condition: Any) -> None:
    """Waits for it, with a limit."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.02)
