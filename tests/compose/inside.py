"""Looking into the containers of a composed stack."""

import json
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import trustme

from compose.stack import Composed, engine
from tls import Tls

PORTS = {"identity": 50051, "bookings": 50052, "payments": 50053}
METRICS = {"identity": 9051, "bookings": 9052, "payments": 9053}


def inspect(container: str) -> Any:
    """All that the engine knows of a container."""
    return json.loads(engine("inspect", container))[0]


def run(container: str, *command: str) -> str:
    """Runs a command in a container; what it printed. Raises EngineFails."""
    return engine("exec", container, *command).strip()


def sql(stack: Composed, query: str) -> list[str]:
    """The rows of a query, as the administrator of the database, columns joined by `|`."""
    [postgres] = stack.containers("postgres")
    told = ("psql", "--username=postgres", "--dbname=teppan", "--no-psqlrc", "--tuples-only", "--no-align", "--command", query)
    return [line for line in run(postgres, *told).splitlines() if line]


def envoy_says(stack: Composed, path: str) -> list[str]:
    """What Envoy's own interface answers, by lines."""
    [envoy] = stack.containers("envoy")
    request = rf"GET {path} HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n"
    return run(envoy, "bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/9901 && printf '{request}' >&3 && cat <&3").splitlines()


def envoys_view(stack: Composed, service: str) -> dict[str, str]:
    """What Envoy thinks of each replica's health, by address."""
    lines = [line.strip().split("::") for line in envoy_says(stack, "/clusters")]
    return {line[1]: line[3] for line in lines if line[0] == service and line[2:3] == ["health_flags"]}


def address(stack: Composed, service: str, container: str) -> str:
    """Where one replica listens, past Envoy, in its service's own network."""
    networks = inspect(container)["NetworkSettings"]["Networks"]
    return f"{networks[f'{stack.project}_{service}']['IPAddress']}:{PORTS[service]}"


def certified(stack: Composed, folder: Path) -> Tls:
    """A certificate of the stack's authority, for calls past Envoy."""
    authority = trustme.CA.from_pem(stack.authority.read_bytes(), stack.authority.with_suffix(".key").read_bytes())
    made = authority.issue_cert("test")
    own = Tls(certificate_file=folder / "tls.crt", key_file=folder / "tls.key", ca_file=stack.authority)
    own.certificate_file.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    own.key_file.write_bytes(made.private_key_pem.bytes())
    return own


def metric(stack: Composed, service: str, container: str, tls: Tls, name: str, **labels: str) -> float:
    """The sum of a metric of one replica, over all series that have these labels."""
    context = ssl.create_default_context(cafile=tls.ca_file)
    context.check_hostname = False  # it is called by its address
    context.load_cert_chain(tls.certificate_file, tls.key_file)
    host = address(stack, service, container).rpartition(":")[0]
    with urllib.request.urlopen(f"https://{host}:{METRICS[service]}/metrics", timeout=10, context=context) as answer:
        lines = answer.read().decode().splitlines()
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{") and all(w in line for w in wanted))


def calls(stack: Composed, service: str, own: Tls, method: str) -> list[float]:
    """How many calls of a method each replica has ended."""
    return [metric(stack, service, container, own, "rpc_calls_total", method=method) for container in stack.containers(service)]
