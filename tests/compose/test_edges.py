"""Who is let in: past Envoy only holders of a certificate of the stack's authority, and plaintext nowhere."""

import asyncio
import json
import urllib.request
from collections import Counter
from pathlib import Path
from time import time as clock
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from teppan.identity.v1 import tokens_pb2, tokens_pb2_grpc

from compose.secrets import CERTIFICATE_DAYS
from compose.stack import Composed, EngineFails, engine
from local.database import SERVICES
from tests.compose.inside import address, certified, inspect, sql
from tests.deployed import eventually

SERVING = health_pb2.HealthCheckResponse.SERVING


def health(target: str, credentials: grpc.ChannelCredentials | None, name: str) -> int:
    """What a server says of itself; raises RpcError. It is called by its address, and believed in the service's name."""
    options = [("grpc.ssl_target_name_override", name)]
    make = grpc.insecure_channel(target) if credentials is None else grpc.secure_channel(target, credentials, options=options)
    with make as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_takes_only_certificates_of_its_authority(composed: Composed, tmp_path: Path, service: str) -> None:
    own, ca = certified(composed, tmp_path), composed.authority.read_bytes()
    stranger = trustme.CA().issue_cert("test")
    chain, key = b"".join(blob.bytes() for blob in stranger.cert_chain_pems), stranger.private_key_pem.bytes()
    for container in composed.containers(service):
        target = address(composed, service, container)
        assert health(target, grpc.ssl_channel_credentials(ca, own.key, own.certificate), service) == SERVING
        for refused in (grpc.ssl_channel_credentials(ca), grpc.ssl_channel_credentials(ca, key, chain), None):
            with pytest.raises(grpc.RpcError) as refusal:
                health(target, refused, service)
            assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("service", SERVICES)
def test_clients_believe_envoy_by_the_authority_and_not_without(composed: Composed, service: str) -> None:
    target = composed.address(service)
    assert health(target, grpc.ssl_channel_credentials(composed.authority.read_bytes()), "localhost") == SERVING
    for refused in (grpc.ssl_channel_credentials(trustme.CA().cert_pem.bytes()), None):
        with pytest.raises(grpc.RpcError) as refusal:
            health(target, refused, "localhost")
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_does_not_serve_in_plaintext_unless_told_so_by_name(composed: Composed, service: str) -> None:
    told = {"TEPPAN_LISTEN": "0.0.0.0:50051", "TEPPAN_METRICS_LISTEN": "127.0.0.1:9051"}
    with pytest.raises(EngineFails, match=r"0\.0\.0\.0:50051 is not on loopback, and would be plaintext"):
        engine("run", "--rm", *(f"--env={key}={value}" for key, value in told.items()), f"teppan-{service}:test")
    told["TEPPAN_PLAINTEXT"] = "allowed"
    with pytest.raises(EngineFails, match="is not set") as refusal:  # nothing else was given to it
        engine("run", "--rm", *(f"--env={key}={value}" for key, value in told.items()), f"teppan-{service}:test")
    assert "plaintext" not in str(refusal.value).split("does not start")[1]


def test_prometheus_finds_every_replica_may_read_its_metrics_and_looks_at_the_alerts(composed: Composed) -> None:
    composed.compose("--profile", "metrics", "up", "--detach", "--wait", "--no-recreate", "prometheus")

    def values(name: str) -> list[tuple[str, float]]:
        """Those of all replicas, each with its service."""
        query = f"http://127.0.0.1:{composed.ports['prometheus']}/api/v1/query?query={name}"
        with urllib.request.urlopen(query, timeout=10) as answer:
            return [(each["metric"]["job"], float(each["value"][1])) for each in json.load(answer)["data"]["result"]]

    twice = dict.fromkeys(SERVICES, 2)
    asyncio.run(eventually(lambda: Counter(job for job, value in values("up") if value == 1) == twice))
    days = [(job, (until - clock()) / 86_400) for job, until in values("tls_certificate_not_after_seconds")]
    assert Counter(job for job, _ in days) == twice
    assert all(CERTIFICATE_DAYS - 1 < left <= CERTIFICATE_DAYS for _, left in days)
    rules = f"http://127.0.0.1:{composed.ports['prometheus']}/api/v1/rules"

    def all_are_looked_at() -> bool:
        with urllib.request.urlopen(rules, timeout=10) as answer:
            found = [rule for group in json.load(answer)["data"]["groups"] for rule in group["rules"]]
        assert found, "no rules were loaded"
        return all(rule["health"] == "ok" for rule in found)

    asyncio.run(eventually(all_are_looked_at))


def test_failed_logins_are_counted_by_the_client_that_envoy_saw(composed: Composed, tmp_path: Path) -> None:
    """Neither by Envoy's own address, for all its clients, nor by what a client says; past Envoy, by who connects."""
    sql(composed, "DELETE FROM identity.login_failures")
    credentials, own = grpc.ssl_channel_credentials(composed.trusted.read_bytes()), certified(composed, tmp_path)
    fails(grpc.secure_channel(composed.address("identity"), credentials))
    [envoy], [replica, _] = composed.containers("envoy"), composed.containers("identity")
    envoys = {network["IPAddress"] for network in inspect(envoy)["NetworkSettings"]["Networks"].values()}
    [through] = sql(composed, "SELECT address FROM identity.login_failures")
    assert through not in {*envoys, "203.0.113.9", "unknown"}
    direct = grpc.ssl_channel_credentials(composed.authority.read_bytes(), own.key, own.certificate)
    options = [("grpc.ssl_target_name_override", "identity")]
    fails(grpc.secure_channel(address(composed, "identity", replica), direct, options=options))
    assert "203.0.113.9" not in sql(composed, "SELECT address FROM identity.login_failures")
    assert sql(composed, "SELECT sum(failures) FROM identity.login_failures") == ["2"]


def fails(channel: grpc.Channel) -> None:
    """Logs in as nobody, and says that somebody else sends it on."""
    request = tokens_pb2.LoginRequest(email="nobody@example.com", password="wrong horse battery")  # noqa: S106  # nobody's
    stub: Any = tokens_pb2_grpc.TokensServiceStub(channel)
    with channel, pytest.raises(grpc.RpcError) as refusal:
        stub.Login(request, timeout=20, metadata=(("x-forwarded-for", "203.0.113.9"),))
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
