"""Mutual TLS between services, and where plaintext is refused."""

import asyncio
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from probe import __main__ as probe
from prometheus_client import CollectorRegistry

import settings
from faults import PeerUnavailable
from local import secret
from rpccommon.auth import ServiceToken
from rpccommon.calls import Calls
from rpccommon.client import Peer
from rpccommon.policies import policies
from rpccommon.server import Server
from rpccommon.telemetry import Telemetry
from settings import Reader, SettingsWrong
from tests.unit.rpc_stage import SERVICE_KEY, SERVICES, now, ready, verifier
from tls import Tls, TlsWrong, on_loopback

CHECK = health_pb2.HealthCheckRequest()


def issued(folder: Path, authority: trustme.CA, *names: str, not_after: datetime | None = None) -> Tls:
    """A certificate in these names, as files."""
    folder.mkdir(exist_ok=True)
    made = authority.issue_cert(*names, not_after=not_after)
    held = Tls(certificate_file=folder / "tls.crt", key_file=folder / "tls.key", ca_file=folder / "ca.crt")
    held.certificate_file.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    held.key_file.write_bytes(made.private_key_pem.bytes())
    authority.cert_pem.write_to_path(held.ca_file)
    return held


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def own(tmp_path: Path, authority: trustme.CA) -> Tls:
    return issued(tmp_path / "own", authority, "localhost")


@pytest.fixture
async def port(own: Tls) -> AsyncIterator[int]:
    """Where a server with TLS listens."""
    calls = Calls("test", policies(*SERVICES), verifier(), Telemetry("test", CollectorRegistry()))
    server = Server("test", "127.0.0.1:0", calls, [], [], ready, tls=own, drain_seconds=0)
    yield await server.start()
    await server.stop()


async def asked(address: str, tls: Tls | None) -> object:
    """The health of a peer, asked as services ask each other."""
    peer = Peer("other", address, ServiceToken("bookings", SERVICE_KEY, now), lambda: None, tls=tls)
    stub: Any = health_pb2_grpc.HealthStub(peer.channel)
    try:
        return (await peer.call(stub.Check, CHECK, timeout=5)).status
    finally:
        await peer.close()


async def test_services_of_one_authority_answer_each_other(port: int, tmp_path: Path, authority: trustme.CA) -> None:
    assert await asked(f"localhost:{port}", issued(tmp_path / "other", authority, "bookings"))


async def test_a_certificate_of_another_authority_is_refused(port: int, tmp_path: Path, own: Tls) -> None:
    stranger = issued(tmp_path / "stranger", trustme.CA(), "bookings")
    own.ca_file.replace(stranger.ca_file)  # it does believe the server
    with pytest.raises(PeerUnavailable):
        await asked(f"localhost:{port}", stranger)


async def test_who_has_no_certificate_is_refused(port: int, own: Tls) -> None:
    async with grpc.aio.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(own.ca)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stub.Check(CHECK, timeout=5)
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_plaintext_is_refused_by_a_server_with_tls(port: int) -> None:
    with pytest.raises(PeerUnavailable):
        await asked(f"localhost:{port}", None)


async def test_a_peer_in_another_name_is_not_believed(port: int, own: Tls) -> None:
    with pytest.raises(PeerUnavailable):
        await asked(f"127.0.0.1:{port}", own)  # the certificate is for localhost


def test_metrics_are_for_holders_of_a_certificate_too(own: Tls) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    close = Telemetry("test", CollectorRegistry()).start_metrics(f"127.0.0.1:{port}", own)
    stranger, known = ssl.create_default_context(cafile=own.ca_file), ssl.create_default_context(cafile=own.ca_file)
    known.load_cert_chain(own.certificate_file, own.key_file)
    with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
        urllib.request.urlopen(f"https://localhost:{port}/metrics", timeout=5, context=stranger).read()
    with urllib.request.urlopen(f"https://localhost:{port}/metrics", timeout=5, context=known) as answer:
        assert b"rpc_calls_total" in answer.read()
    close()


def test_who_connects_to_the_metrics_and_says_nothing_keeps_nobody_out_and_nothing_from_ending(own: Tls) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    close = Telemetry("test", CollectorRegistry()).start_metrics(f"127.0.0.1:{port}", own)
    known = ssl.create_default_context(cafile=own.ca_file)
    known.load_cert_chain(own.certificate_file, own.key_file)
    with socket.create_connection(("127.0.0.1", port)):
        with urllib.request.urlopen(f"https://localhost:{port}/metrics", timeout=5, context=known) as answer:
            assert answer.status == 200
        closing = threading.Thread(target=close)
        closing.start()
        closing.join(timeout=5)
        assert not closing.is_alive()


async def test_a_container_asks_its_service_in_whatever_name_its_certificate_is_for(
    tmp_path: Path, authority: trustme.CA, capfd: pytest.CaptureFixture[str]
) -> None:
    named = issued(tmp_path / "named", authority, "bookings")
    calls = Calls("test", policies(*SERVICES), verifier(), Telemetry("test", CollectorRegistry()))
    server = Server("test", "127.0.0.1:0", calls, [], [], ready, tls=named, drain_seconds=0)
    environ = {
        "TEPPAN_LISTEN": f"0.0.0.0:{await server.start()}", "TEPPAN_TLS_CERTIFICATE_FILE": str(named.certificate_file),
        "TEPPAN_TLS_KEY_FILE": str(named.key_file), "TEPPAN_TLS_CA_FILE": str(named.ca_file),
    }  # fmt: skip
    async with asyncio.timeout(10):
        while await asyncio.to_thread(probe.main, environ):
            await asyncio.sleep(0.05)
    assert "SERVING" in capfd.readouterr().out
    await server.stop()
    assert await asyncio.to_thread(probe.main, environ) == 1


def test_files_that_do_not_belong_together_are_named(own: Tls, tmp_path: Path, authority: trustme.CA) -> None:
    other = issued(tmp_path / "other", authority, "localhost", not_after=datetime.now(UTC) + timedelta(days=1))
    own.check(datetime.now(UTC))
    other.check(datetime.now(UTC))
    with pytest.raises(TlsWrong, match="are not a certificate and its key"):
        Tls(certificate_file=own.certificate_file, key_file=other.key_file, ca_file=own.ca_file).check(datetime.now(UTC))
    with pytest.raises(TlsWrong, match="holds no certificate of an authority"):
        Tls(certificate_file=own.certificate_file, key_file=own.key_file, ca_file=own.key_file).check(datetime.now(UTC))
    with pytest.raises(TlsWrong, match=r"holds from .* to .* only"):
        other.check(datetime.now(UTC) + timedelta(days=2))


@pytest.mark.parametrize(
    ("address", "is_loopback"),
    [
        ("127.0.0.1:1", True), ("127.9.9.9:1", True), ("[::1]:1", True), ("localhost:1", True), ("0.0.0.0:1", False),
        ("[::]:1", False), ("10.0.0.1:1", False), ("identity:1", False), ("localhost.example:1", False), (":1", False),
    ],
)  # fmt: skip
def test_what_is_on_loopback(address: str, is_loopback: bool) -> None:  # noqa: FBT001  # of the table
    assert on_loopback(address) is is_loopback


def read(tmp_path: Path, **changed: str) -> settings.Settings:
    """The settings of bookings in an environment that is complete but for what is changed."""
    secret.make(tmp_path / "secrets", ("bookings",))
    environ = {
        "TEPPAN_LISTEN": "127.0.0.1:1", "TEPPAN_METRICS_LISTEN": "127.0.0.1:2", "TEPPAN_IDENTITY_ADDRESS": "localhost:3",
        "TEPPAN_DATABASE_APP_URL": "postgresql://app@/db", "TEPPAN_DATABASE_PLATFORM_URL": "postgresql://platform@/db",
        "TEPPAN_SERVICE_KEY_FILE": f"{tmp_path}/secrets/bookings.pem", "TEPPAN_TOKEN_KEY_FILE": f"{tmp_path}/secrets/bookings.token.key",
        "TEPPAN_SERVICE_JWKS_FILE": f"{tmp_path}/secrets/services.jwks.json",
    }  # fmt: skip
    reader = Reader({**environ, **changed})
    found = settings.read("bookings", reader, peers=("identity",))
    reader.done()
    return found


def test_plaintext_is_for_loopback_or_for_where_it_is_asked_for_by_name(tmp_path: Path, own: Tls) -> None:
    everywhere = {"TEPPAN_LISTEN": "0.0.0.0:1", "TEPPAN_METRICS_LISTEN": "[::]:2", "TEPPAN_IDENTITY_ADDRESS": "identity:3"}
    assert read(tmp_path).tls is None
    with pytest.raises(SettingsWrong) as refusal:
        read(tmp_path, **everywhere)
    assert [line.split()[0] for line in str(refusal.value).splitlines()] == list(everywhere.values())
    assert "set TEPPAN_TLS_CERTIFICATE_FILE" in str(refusal.value)
    assert read(tmp_path, **everywhere, TEPPAN_PLAINTEXT="allowed").tls is None
    files = {
        "TEPPAN_TLS_CERTIFICATE_FILE": str(own.certificate_file), "TEPPAN_TLS_KEY_FILE": str(own.key_file),
        "TEPPAN_TLS_CA_FILE": str(own.ca_file),
    }  # fmt: skip
    assert read(tmp_path, **everywhere, **files).tls == own


def test_a_part_of_the_files_of_tls_is_too_little(tmp_path: Path, own: Tls) -> None:
    with pytest.raises(SettingsWrong, match="TEPPAN_TLS_KEY_FILE is not set\nTEPPAN_TLS_CA_FILE is not set"):
        read(tmp_path, TEPPAN_TLS_CERTIFICATE_FILE=str(own.certificate_file))


@pytest.mark.parametrize("value", ["5s", "-1", "inf", "nan"])
def test_a_length_of_time_that_is_none_is_named(tmp_path: Path, value: str) -> None:
    assert read(tmp_path, TEPPAN_DRAIN_SECONDS="0.5").drain_seconds == 0.5
    with pytest.raises(SettingsWrong, match=f"TEPPAN_DRAIN_SECONDS is '{value}', and not a number of seconds"):
        read(tmp_path, TEPPAN_DRAIN_SECONDS=value)


def test_secrets_may_stand_in_files(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://secret\n")
    assert read(tmp_path, TEPPAN_DATABASE_APP_URL_FILE=str(tmp_path / "url")).app_url == "postgresql://secret"
    with pytest.raises(SettingsWrong, match=r"TEPPAN_DATABASE_APP_URL_FILE: .*missing cannot be read: No such file"):
        read(tmp_path, TEPPAN_DATABASE_APP_URL_FILE=str(tmp_path / "missing"))
