"""What the manifests in deploy/ have to agree on with the code, with each other, and with what was promised of them."""

import base64
import importlib
from pathlib import Path
from typing import Any

import pytest
import teppan
import yaml
from google.rpc import error_details_pb2, status_pb2
from teppan.common.v1 import options_pb2, reasons_pb2

import service
from compose.stack import MOUNTS
from identity.__main__ import PLATFORM_POOL as IDENTITY_PLATFORM_POOL
from local.database import SERVICES
from local.ports import METRICS, PORTS
from rpccommon.server import DRAIN_DELAY_SECONDS, GRACE_SECONDS

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNAVAILABLE = 14
OWN_CONNECTIONS = 2
"""Beside the pools: the probe's, and the one by which a replica is elected."""
FREE_CONNECTIONS = 20
"""For migrations, backups and people."""


def read(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text())


@pytest.fixture(scope="module")
def containers() -> dict[str, Any]:
    found: dict[str, Any] = read("compose.yaml")["services"]
    return found


@pytest.fixture(scope="module")
def managers() -> dict[str, Any]:
    """What Envoy does with a service's calls, by service."""
    listeners = read("envoy/envoy.yaml")["static_resources"]["listeners"]
    return {each["name"]: each["filter_chains"][0]["filters"][0]["typed_config"] for each in listeners}


def test_no_container_may_do_more_than_it_needs(containers: dict[str, Any]) -> None:
    for name, container in containers.items():
        assert container["read_only"] is True, name
        assert container["cap_drop"] == ["ALL"], name
        assert "cap_add" not in container, name
        assert container["security_opt"] == ["no-new-privileges:true"], name
        assert not container.get("privileged"), name
        for volume in container.get("volumes", []):
            if isinstance(volume, dict):
                assert volume["read_only"] is True, name
                assert volume["bind"] == {"create_host_path": False}, "what is missing is said, and not made, as root's"


def test_secrets_are_files_and_each_container_is_given_its_own(containers: dict[str, Any]) -> None:
    for name, container in containers.items():
        for key in container.get("environment", {}):
            assert not any(word in key for word in ("PASSWORD", "URL", "KEY", "TOKEN")) or key.endswith("_FILE"), (name, key)
        given = [
            v["source"].rsplit("/", 1)[1] for v in container["volumes"] if isinstance(v, dict) and v["target"] == "/run/secrets"
        ]
        owners = {f"{each}-migrate": f"{each}-owner" for each in SERVICES} | {"bootstrap": "identity"}
        assert given == [owners.get(name, name)]


def test_there_are_two_replicas_of_each_service_and_they_start_after_their_migrations(containers: dict[str, Any]) -> None:
    for name in SERVICES:
        assert containers[name]["deploy"] == {"replicas": 2}
        before = {"identity": "bootstrap"}.get(name, f"{name}-migrate")
        assert containers[name]["depends_on"] == {before: {"condition": "service_completed_successfully"}}
    assert containers["bootstrap"]["depends_on"] == {"identity-migrate": {"condition": "service_completed_successfully"}}


def test_only_envoy_and_prometheus_can_be_reached_and_only_on_this_machine(containers: dict[str, Any]) -> None:
    assert {name for name, container in containers.items() if "ports" in container} == {"envoy", "prometheus"}
    assert all(port.startswith("127.0.0.1:") for name in ("envoy", "prometheus") for port in containers[name]["ports"])
    inside = {name for name, network in read("compose.yaml")["networks"].items() if network.get("internal")}
    for name, container in containers.items():
        assert name in {"envoy", "prometheus"} or set(container["networks"]) <= inside, name


def test_no_service_shares_a_network_with_another_one_or_its_database_unless_one_calls_the_other(
    containers: dict[str, Any],
) -> None:
    networks = {name: set(containers[name]["networks"]) for name in SERVICES}
    assert networks["identity"] == {"identity", "bookings", "payments", "identity-database"}
    assert networks["bookings"] == {"identity", "bookings", "payments", "bookings-database"}
    assert networks["payments"] == {"identity", "bookings", "payments", "payments-database"}


def test_the_pools_of_all_replicas_fit_into_the_database(containers: dict[str, Any]) -> None:
    [limit] = [int(arg.split("=")[1]) for arg in containers["postgres"]["command"] if arg.startswith("max_connections=")]
    platform = {"identity": IDENTITY_PLATFORM_POOL}
    each = [service.APP_POOL + platform.get(name, service.PLATFORM_POOL) + OWN_CONNECTIONS for name in SERVICES]
    assert sum(each) * 2 + FREE_CONNECTIONS <= limit


def test_envoy_repeats_only_what_no_service_has_seen(managers: dict[str, Any]) -> None:
    """And CANCELLED, which a stopping server gives to what it had queued, but for methods that nobody may repeat blindly."""
    unseen = {"connect-failure", "refused-stream", "reset-before-request"}
    for manager in managers.values():
        [host] = manager["route_config"]["virtual_hosts"]
        routes = {route["match"].get("path", "/"): route["route"] for route in host["routes"] if "route" in route}
        assert set(routes["/"]["retry_policy"]["retry_on"].split(",")) == unseen | {"cancelled"}
        assert "path" not in host["routes"][-1]["match"], "what comes after it is never reached"
        for path, route in routes.items():
            assert (route["cluster"], route["timeout"]) == (manager["stat_prefix"], "0s")
            [other] = route["retry_policy"]["retry_host_predicate"]
            assert other["name"].endswith(".previous_hosts")
            assert path == "/" or set(route["retry_policy"]["retry_on"].split(",")) == unseen
    named = {
        name: {route["match"].get("path") for route in each["route_config"]["virtual_hosts"][0]["routes"]}
        for name, each in managers.items()
    }
    assert once(), "some methods are RETRY_CLASS_NONE"
    for owner, path in once():
        assert all(path in paths for name, paths in named.items() if owner in {name, "common"}), path


def once() -> set[tuple[str, str]]:
    """The methods that the contract lets nobody repeat blindly: their package's service, and their path."""
    services = [each for file in Path(teppan.__path__[0]).rglob("*_pb2.py") for each in described(file)]
    return {
        (method.full_name.split(".")[1], f"/{service.full_name}/{method.name}")
        for service in services
        for method in service.methods
        if method.GetOptions().Extensions[options_pb2.policy].retry == options_pb2.RETRY_CLASS_NONE
    }


def described(file: Path) -> list[Any]:
    module = importlib.import_module(".".join(("teppan", *file.relative_to(teppan.__path__[0]).with_suffix("").parts)))
    return list(module.DESCRIPTOR.services_by_name.values())


def test_one_client_cannot_take_all_of_envoy(managers: dict[str, Any]) -> None:
    """Neither by calls that never arrive, nor by streams that it does not read."""
    for manager in managers.values():
        assert manager["stream_idle_timeout"] == "0s", "a feed may be silent, a list as slow as its reader"
        assert 0 < float(manager["request_timeout"].removesuffix("s")) <= 15
        assert manager["http2_protocol_options"]["initial_stream_window_size"] <= 262_144
    for cluster in clusters().values():
        http2 = upstream(cluster)
        assert http2["initial_connection_window_size"] >= 1_000 * http2["initial_stream_window_size"]


def clusters() -> dict[str, Any]:
    return {each["name"]: each for each in read("envoy/envoy.yaml")["static_resources"]["clusters"]}


def upstream(cluster: Any) -> Any:
    [options] = cluster["typed_extension_protocol_options"].values()
    return options["explicit_http_config"]["http2_protocol_options"]


def test_envoy_asks_each_replica_how_it_is_and_believes_only_the_service_itself() -> None:
    found = clusters()
    assert set(found) == set(SERVICES)
    for name, cluster in found.items():
        assert [check["grpc_health_check"] for check in cluster["health_checks"]] == [{}]
        assert upstream(cluster)["connection_keepalive"] == {"interval": "5s", "timeout": "3s"}
        assert cluster["common_lb_config"]["healthy_panic_threshold"] == {"value": 1}
        context = cluster["transport_socket"]["typed_config"]["common_tls_context"]
        assert context["validation_context"]["match_typed_subject_alt_names"] == [
            {"san_type": "DNS", "matcher": {"exact": name}}
        ]  # fmt: skip
        [own] = context["tls_certificates"]
        assert own["certificate_chain"]["filename"].endswith("/tls.crt")
    assert read("envoy/envoy.yaml")["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_envoy_shows_its_clients_another_certificate_than_the_services() -> None:
    for listener in read("envoy/envoy.yaml")["static_resources"]["listeners"]:
        context = listener["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"]
        assert [each["certificate_chain"]["filename"] for each in context["tls_certificates"]] == ["/run/secrets/edge.crt"]


def test_containers_come_back_by_themselves_end_in_order_and_fill_no_disk(containers: dict[str, Any]) -> None:
    jobs = {"roles", "bootstrap", *(f"{name}-migrate" for name in SERVICES)}
    for name, container in containers.items():
        assert container["restart"] == ("on-failure:3" if name in jobs else "unless-stopped"), name
        assert container["init"] is True, name
        assert container["pids_limit"], name
        assert set(container["logging"]["options"]) == {"max-size", "max-file"}, name
    for name in SERVICES:
        assert containers[name]["stop_grace_period"] == "30s"
        assert DRAIN_DELAY_SECONDS + GRACE_SECONDS < 30
    assert containers["postgres"]["stop_grace_period"] == "60s"
    assert containers["roles"]["tmpfs"] == ["/var/lib/postgresql/data"], "else each start leaves a volume"
    for name in SERVICES:
        assert containers[f"{name}-migrate"]["depends_on"] == {"roles": {"condition": "service_completed_successfully"}}


def test_what_containers_are_given_of_the_repository_is_readable_whatever_the_umask(containers: dict[str, Any]) -> None:
    sources = {v["source"] for each in containers.values() for v in each.get("volumes", []) if isinstance(v, dict)}
    assert {source.removeprefix("./") for source in sources if source.startswith("./")} == set(MOUNTS)


@pytest.mark.parametrize("name", SERVICES)
def test_where_no_replica_answers_envoy_says_so_as_a_service_would(managers: dict[str, Any], name: str) -> None:
    [mapper] = managers[name]["local_reply_config"]["mappers"]
    [header] = [each["header"] for each in mapper["headers_to_add"]]
    status, info, retry = status_pb2.Status(), error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    status.ParseFromString(base64.b64decode(header["value"], validate=True))
    assert header["key"] == "grpc-status-details-bin"
    assert status.code == UNAVAILABLE
    assert [detail.Unpack(info) or detail.Unpack(retry) for detail in status.details] == [True, True]
    assert reasons_pb2.Reason.Value(f"REASON_{info.reason}") == reasons_pb2.REASON_PEER_UNAVAILABLE
    assert (info.domain, dict(info.metadata)) == (f"{name}.teppan", {"peer": name})
    assert retry.retry_delay.ToTimedelta().total_seconds() == 1


def test_ports_and_names_are_those_of_the_services(containers: dict[str, Any]) -> None:
    envoy = read("envoy/envoy.yaml")["static_resources"]
    listening = {each["name"]: each["address"]["socket_address"]["port_value"] for each in envoy["listeners"]}
    called = {
        each["name"]: each["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        for each in envoy["clusters"]
    }
    jobs = {each["job_name"]: each for each in read("observability/prometheus.yml")["scrape_configs"]}
    assert set(jobs) == set(SERVICES)
    for name in SERVICES:
        environment = containers[name]["environment"]
        assert environment["TEPPAN_LISTEN"] == f"0.0.0.0:{PORTS[name]}"
        assert environment["TEPPAN_METRICS_LISTEN"] == f"0.0.0.0:{METRICS[name]}"
        assert environment[f"TEPPAN_{name.upper()}_ADDRESS"] == f"{name}:{PORTS[name]}"
        assert listening[name] == PORTS[name]
        assert called[name] == {"address": name, "port_value": PORTS[name]}
        assert jobs[name]["dns_sd_configs"][0] == {
            "names": [name], "type": "A", "port": METRICS[name], "refresh_interval": "5s"
        }  # fmt: skip
